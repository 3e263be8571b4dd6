import { describe, expect, test } from '@jest/globals';
import { allCommands } from '../../src/commands/all.ts';
import { mayHoldPassword } from '../../src/commands/grammar/secrets.ts';
import { readMessage, type Addressing } from '../../src/matrix/message.ts';

const registry = allCommands();
const addressing: Addressing = {
  name: 'prod',
  barePrefix: true,
  userId: '@prod:x',
  mayHoldPassword: (line) => mayHoldPassword(registry, line),
};
const said = (body: string, more: Record<string, unknown> = {}): Promise<unknown> =>
  readMessage({ msgtype: 'm.text', body, ...more }, addressing);
const command = (line: string, more: Record<string, unknown> = {}): unknown => ({
  kind: 'command',
  command: { line, items: null, threadId: null, replyTo: null, file: null, ...more },
});

describe('a message', () => {
  test.each([
    ['!user list', 'user list'],
    ['  !user list ', 'user list'],
    ['!prod user list', 'user list'],
    ['!Prod user list', 'user list'],
    ['!prod', 'help'],
    ['> <@a:x> hello\n> more\n\n!user list', 'user list'],
  ])('%j asks for %s', async (body, line) => {
    expect(await said(body)).toEqual(command(line));
  });

  test.each(['hello', '!', '!!', '! user', '!1', '', '> !user list', 'user list !help'])('%j asks for nothing', async (body) => {
    expect(await said(body)).toEqual({ kind: 'none' });
  });

  test('without the name is for another where several bots share the room', async () => {
    const shared = { ...addressing, barePrefix: false };
    expect(await readMessage({ msgtype: 'm.text', body: '!user list' }, shared)).toEqual({ kind: 'none' });
    expect(await readMessage({ msgtype: 'm.text', body: '!prod user list' }, shared)).toEqual(command('user list'));
    expect(await readMessage({ msgtype: 'm.text', body: '!production user list' }, shared)).toEqual({ kind: 'none' });
  });

  test('of another bot, or with no text, asks for nothing', async () => {
    expect(await said('!help', { msgtype: 'm.notice' })).toEqual({ kind: 'none' });
    expect(await readMessage({ msgtype: 'm.text', body: 7 }, addressing)).toEqual({ kind: 'none' });
    expect(await readMessage({}, addressing)).toEqual({ kind: 'none' });
  });

  test('that is an edit is never run', async () => {
    const relation = { 'm.relates_to': { rel_type: 'm.replace', event_id: '$a' } };
    expect(await said('* !user list', { ...relation, 'm.new_content': { msgtype: 'm.text', body: '!user list' } })).toEqual({
      kind: 'edit',
    });
    expect(await said('* hello', { ...relation, 'm.new_content': { msgtype: 'm.text', body: 'hello' } })).toEqual({ kind: 'none' });
  });

  test('keeps its thread, and the event it answers', async () => {
    const thread = {
      'm.relates_to': { rel_type: 'm.thread', event_id: '$root', is_falling_back: true, 'm.in_reply_to': { event_id: '$last' } },
    };
    expect(await said('!help', thread)).toEqual(command('help', { threadId: '$root' }));
    expect(await said('!user create', { 'm.relates_to': { 'm.in_reply_to': { event_id: '$file' } } })).toEqual(
      command('user create', { replyTo: '$file' }),
    );
  });

  test('gives the lines of a code block as items', async () => {
    expect(await said('!user create --admin\n```\nalice\n\n bob -e b@x.org \n```')).toEqual(
      command('user create --admin', { items: ['alice', 'bob -e b@x.org'] }),
    );
    expect(await said('!user create\n```text\r\nalice\r\n```')).toEqual(command('user create', { items: ['alice'] }));
  });

  test('has the id behind a pill', async () => {
    const formatted = {
      format: 'org.matrix.custom.html',
      formatted_body: '!user info <a href="https://matrix.to/#/@ann:x">Ann &amp; co</a> --json',
    };
    expect(await said('!user info Ann & co --json', formatted)).toEqual(command('user info @ann:x --json'));
    const encoded = { formatted_body: '<p>!what <a href="https://matrix.to/#/%23room%3Ax?via=x">#room</a></p>' };
    expect(await said('!what #room', encoded)).toEqual(command('what #room:x'));
  });

  test('with pills keeps its code block', async () => {
    const formatted = { formatted_body: '!user create <pre><code>ann\nbob\n</code></pre><a href="https://matrix.to/#/@x:y">x</a>' };
    expect(await said('!user create\n```\nann\nbob\n```', { formatted_body: formatted.formatted_body.replace(/<a.*/, '') })).toEqual(
      command('user create', { items: ['ann', 'bob'] }),
    );
  });

  test('that is the caption of a file has the file', async () => {
    expect(await readMessage({ msgtype: 'm.file', body: '!user create', filename: 'users.txt', url: 'mxc://x/y' }, addressing)).toEqual(
      command('user create', { file: 'mxc://x/y' }),
    );
    expect(await readMessage({ msgtype: 'm.file', body: '!users.txt', url: 'mxc://x/y' }, addressing)).toEqual({ kind: 'none' });
  });

  test('may be structured by MSC4391, when it is for this bot', async () => {
    const structured = {
      'org.matrix.msc4391.command': { command: 'user create', arguments: { user: 'ann', 'display-name': 'Ann "A"', admin: false } },
      'm.mentions': { user_ids: ['@prod:x'] },
    };
    expect(await said('/user create ann', structured)).toEqual(command('user create --user=ann --display-name="Ann \\"A\\""'));
    expect(await said('/user create ann', { ...structured, 'm.mentions': { user_ids: ['@other:x'] } })).toEqual({ kind: 'none' });
  });
});

describe('a message with a secret', () => {
  test.each([
    '!user create ann -p hunter2',
    '!user create ann --password hunter2',
    '!user create ann --password=hunter2',
    '!user create ann\n```\nbob -p x\n```',
    '!what syt_YWxpY2U_abcdefghijklmnop',
    '!login password=abc',
    '!what AGE-SECRET-KEY-1QQPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L',
    '!what EsTc 5jQc 8YrD WwkR 1Ppd aUm9 cJ3b 7zGf Kn2V xHtA L4sM eE6q',
    '!what mct_abcdefghijklmnop_XYZ12',
    '!config registration_shared_secret: "abc"',
    '!note -----BEGIN OPENSSH PRIVATE KEY-----',
  ])('is not kept: %j', async (body) => {
    expect(await said(body)).toEqual({ kind: 'secret', certain: true });
  });

  test.each([
    '!user update-password ann Secret123',
    '!user update-password -u ann Secret123',
    '!user update-password -y ann "Secret 123"',
    '!user update-pasword ann Secret123',
    '!update-password ann Secret123',
    '!user create ann --pasword Secret123',
    '!user create ann --displayname Ann Secret123',
    '!user reactivate ann -- -Secret123',
    '!user create -y\n```\nann Secret123\n```',
  ])('that may hold a password is not kept: %j', async (body) => {
    expect(await said(body)).toEqual({ kind: 'secret', certain: false });
    const edited = { 'm.relates_to': { rel_type: 'm.replace', event_id: '$a' }, 'm.new_content': { msgtype: 'm.text', body } };
    expect(await said(`* ${body}`, edited)).toEqual({ kind: 'secret', certain: false });
  });

  test.each([
    '!user update-password ann',
    '!user update-password -u ann -y',
    '!user create ann -d "Ann A" -e ann@x.org',
    '!user create ann --displayname Ann',
    '!user info ann Secret123',
    '!user list ann bob carol',
    '!help search password',
    '!user list -- password',
    '!user info ann-p',
    '!help EsTc 5jQc 8YrD WwkR',
  ])('is not seen where there is none: %j', async (body) => {
    expect(await said(body)).toMatchObject({ kind: 'command' });
  });
});
