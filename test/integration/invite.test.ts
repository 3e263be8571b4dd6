import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { openMailbox, type Mailbox } from '../../kit/mailbox.ts';
import { Homeserver } from './support/homeserver.ts';
import { bodyOf, resultOf } from './support/seat.ts';
import type { Steward } from './support/steward.ts';

/** Accounts whose password nobody is told: their owners make one by the mail of a real Synapse and a real SMTP server. */

jest.setTimeout(60_000);

let mailbox: Mailbox;
let home: Homeserver;
let steward: Steward;

beforeAll(async () => {
  mailbox = await openMailbox();
  home = await Homeserver.start({
    email: { smtp_host: '127.0.0.1', smtp_port: mailbox.port, enable_tls: false, notif_from: 'Synapse <synapse@steward.test>' },
  });
  steward = await home.steward();
});

afterAll(async () => {
  await home.dispose();
  await mailbox.close();
});

/** What a client does on "Forgot password?", and its owner with the mail. */
async function forgotPassword(email: string, newPassword: string): Promise<void> {
  const post = async (path: string, body: unknown): Promise<Record<string, unknown>> => {
    const answer = await fetch(home.synapse.url + path, { method: 'POST', body: JSON.stringify(body) });
    const json = (await answer.json()) as Record<string, unknown>;
    expect([path, answer.status, json['errcode']]).toEqual([path, 200, undefined]);
    return json;
  };
  const clientSecret = `client${email.replace(/\W/g, '')}`;
  const { sid } = await post('/_matrix/client/v3/account/password/email/requestToken', {
    client_secret: clientSecret,
    email,
    send_attempt: 1,
  });
  const mail = await mailbox.waitFor(email);
  const link = new URL(/http:\S+submit_token\?\S+?(?=["\s<])/u.exec(mail.text)?.[0].replaceAll('&amp;', '&') ?? '');
  // The page behind the link asks to confirm.
  const confirmed = await fetch(`${home.synapse.url}${link.pathname}`, { method: 'POST', body: new URLSearchParams(link.searchParams) });
  expect(confirmed.status).toBe(200);
  const auth = { type: 'm.login.email.identity', threepid_creds: { sid, client_secret: clientSecret } };
  await post('/_matrix/client/v3/account/password', { new_password: newPassword, logout_devices: true, auth });
}

test.each([
  ['user create', 'invited1', '!user create invited1 -e invited1@mail.test --deliver invite', () => Promise.resolve()],
  [
    'user update-password',
    'invited2',
    '!user update-password invited2 -y --deliver invite',
    async () => {
      await home.register('invited2');
      await home.alice.client.request('PUT', `/_synapse/admin/v2/users/${encodeURIComponent(home.userId('invited2'))}`, {
        threepids: [{ medium: 'email', address: 'invited2@mail.test' }],
      });
    },
  ],
])('`%s` tells nobody a password, and the owner makes one by mail', async (command, name, line, before) => {
  await before();
  const requests = mailbox.mails.length;

  const answer = await steward.alice.ask(line);

  expect(resultOf(answer)).toMatchObject({ command, outcome: 'done' });
  expect(bodyOf(answer)).toContain(
    `password: nobody has one: its owner chooses "Forgot password?" in a client and gives ${name}@mail.test`,
  );
  expect(readdirSync(join(steward.dataDir)).includes('secrets') ? readdirSync(join(steward.dataDir, 'secrets')) : []).toEqual([]);
  // Steward has asked whether mail is on, and nobody was mailed for that.
  expect(mailbox.mails).toHaveLength(requests);

  await forgotPassword(`${name}@mail.test`, 'Chosen-by-the-owner-9');
  expect(await home.logsIn(name, 'Chosen-by-the-owner-9')).toBe(true);
});

test('without an e-mail address it is the next way, and the reason is said', async () => {
  expect(bodyOf(await steward.alice.ask('!user create invited3 --deliver invite'))).toContain(
    `(no e-mail address of ${home.userId('invited3')}; the admin room is not encrypted; no age key of alice)`,
  );
  expect(await home.logsIn('invited3', steward.password('invited3') ?? '')).toBe(true);
});

test('an older password that lies on the host goes when nobody is to have one', async () => {
  await steward.alice.ask('!user create invited4 -e invited4@mail.test');
  const first = steward.password('invited4') ?? '';
  expect(await home.logsIn('invited4', first)).toBe(true);

  await steward.alice.ask('!user update-password invited4 -y --deliver invite');

  expect(steward.password('invited4')).toBeNull();
  expect(await home.logsIn('invited4', first)).toBe(false);
});

test('where the homeserver mails nothing it is the next way', async () => {
  const silent = await Homeserver.start();
  const other = await silent.steward();

  const answer = await other.alice.ask('!user create invited5 -e invited5@mail.test --deliver invite');

  expect(bodyOf(answer)).toContain('(the homeserver mails no reset links; the admin room is not encrypted; no age key of alice)');
  expect(await silent.logsIn('invited5', other.password('invited5') ?? '')).toBe(true);
  await silent.dispose();
});

test('where the homeserver hides which addresses it knows, it still mails', async () => {
  const hiding = await Homeserver.start({
    request_token_inhibit_3pid_errors: true,
    email: { smtp_host: '127.0.0.1', smtp_port: mailbox.port, enable_tls: false, notif_from: 'Synapse <synapse@steward.test>' },
  });
  const other = await hiding.steward();

  expect(bodyOf(await other.alice.ask('!user create invited6 -e invited6@mail.test --deliver invite'))).toContain('nobody has one');

  expect(mailbox.mails.filter((mail) => mail.to.includes('invalid'))).toEqual([]);
  await hiding.dispose();
});
