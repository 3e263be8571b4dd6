import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';
import { createSmtp, type SmtpOptions } from '../../src/alerts/smtp.ts';
import { systemClock } from '../../src/clock.ts';
import { Secret } from '../../src/config/secret.ts';
import { channelContract, patient, sampleAlert, type Receiver } from '../suites/alert-channel.ts';

let dir: string;
let key: Buffer;
let cert: Buffer;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'smtp-'));
  const words =
    'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost';
  execFileSync('openssl', [...words.split(' '), '-keyout', join(dir, 'key'), '-out', join(dir, 'cert')], { stdio: 'ignore' });
  key = readFileSync(join(dir, 'key'));
  cert = readFileSync(join(dir, 'cert'));
});

afterAll(() => {
  rmSync(dir, { recursive: true });
});

const never = new AbortController().signal;

interface Mail {
  from: string;
  to: string[];
  user: unknown;
  secure: boolean;
  /** Headers and text, decoded. */
  text: string;
}

/** A real mail server with TLS from the first byte and the account steward. */
async function open(
  server: SMTPServerOptions = {},
  options: Partial<SmtpOptions> = {},
): Promise<Receiver & { mails: readonly Mail[]; options: SmtpOptions }> {
  const mails: Mail[] = [];
  let attempts = 0;
  let failing = { code: 451, times: 0 };
  let hanging = false;
  const smtp = new SMTPServer({
    secure: true,
    key,
    cert,
    logger: false,
    authOptional: false,
    disableReverseLookup: true,
    closeTimeout: 10,
    onConnect: (_session, done) => {
      attempts += 1;
      if (!hanging) done();
    },
    onAuth: ({ username, password }, _session, done) => {
      if (username === 'steward' && password === 'hunter2hidden') done(null, { user: username });
      else done(new Error('no such account as steward-hidden'));
    },
    onData: (stream, session, done) => {
      void stream.toArray().then((chunks: Buffer[]) => {
        if (failing.times > 0) {
          failing.times -= 1;
          done(Object.assign(new Error('not now, hidden'), { responseCode: failing.code }));
          return;
        }
        const { mailFrom, rcptTo } = session.envelope;
        mails.push({
          from: mailFrom === false ? '' : mailFrom.address,
          to: rcptTo.map(({ address }) => address),
          user: session.user,
          secure: session.secure,
          text: decoded(Buffer.concat(chunks).toString('utf8')),
        });
        done();
      });
    },
    ...server,
  });
  smtp.on('error', () => undefined);
  await new Promise<void>((resolve) => void smtp.listen(0, '127.0.0.1', resolve));
  const { port } = smtp.server.address() as AddressInfo;
  const whole: SmtpOptions = {
    host: 'localhost',
    port,
    security: 'tls',
    user: 'steward',
    password: new Secret('hunter2hidden'),
    from: 'Steward <steward@example.net>',
    to: ['oncall@example.net', 'boss@example.net'],
    ca: cert.toString(),
    clock: systemClock,
    timeoutMs: patient,
    delaysMs: [1, 1],
    ...options,
  };
  return {
    mails,
    options: whole,
    channel: createSmtp(whole),
    secrets: ['hunter2hidden', 'localhost', 'oncall'],
    taken: () => mails.map(({ text }) => text),
    attempts: () => attempts,
    fail: (how, times) => {
      failing = { code: how === 'ill' ? 451 : 554, times };
    },
    hang: () => {
      hanging = true;
    },
    close: () =>
      new Promise<void>((resolve) => {
        smtp.close(() => {
          resolve();
        });
      }),
  };
}

/** Quoted-printable, base64 and encoded words as text. */
function decoded(mail: string): string {
  const unfolded = mail.replaceAll(/\r\n[ \t]+/g, ' ').replaceAll(/\?= =\?/g, '?==?');
  const bytes = (text: string): string =>
    Buffer.from(
      text.replaceAll(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
      'latin1',
    ).toString('utf8');
  return bytes(
    unfolded
      .replaceAll(/=\?UTF-8\?Q\?([^?]*)\?=/gi, (_, text: string) => text.replaceAll('_', ' '))
      .replaceAll(/=\?UTF-8\?B\?([^?]*)\?=/gi, (_, text: string) => Buffer.from(text, 'base64').toString('latin1'))
      .replaceAll('=\r\n', ''),
  );
}

describe('mail', () => {
  channelContract((timeoutMs) => open({}, { timeoutMs }));

  test('goes to every receiver over TLS, logged in, with a priority and an id that repetitions share', async () => {
    const { channel, mails, close } = await open();
    await channel.send(sampleAlert, never);
    await channel.send(sampleAlert, never);
    await close();
    expect(mails[0]).toMatchObject({
      from: 'steward@example.net',
      to: ['oncall@example.net', 'boss@example.net'],
      user: 'steward',
      secure: true,
    });
    for (const { text } of mails) expect(text).toMatch(/^Message-ID: <a1b2c3d4\.steward@example\.net>\r?$/m);
    expect(mails[0]?.text).toMatch(/^Subject: \[Steward\] Somebody is in the admin room: schön\r?$/m);
    expect(mails[0]?.text).toMatch(/^X-Priority: 1/m);
    expect(mails[0]?.text).toMatch(/^Auto-Submitted: auto-generated\r?$/im);
  });

  test('begins in plain and goes over to TLS with `starttls`', async () => {
    const { channel, mails, close } = await open({ secure: false }, { security: 'starttls' });
    await channel.send(sampleAlert, never);
    await close();
    expect(mails).toMatchObject([{ secure: true, user: 'steward' }]);
  });

  test('`starttls` sends nothing, no password either, to a server that does not offer it', async () => {
    let asked = false;
    const { channel, mails, close } = await open(
      {
        secure: false,
        hideSTARTTLS: true,
        disabledCommands: ['STARTTLS'],
        allowInsecureAuth: true,
        onAuth: (_auth, _session, done) => {
          asked = true;
          done(null, { user: 'x' });
        },
      },
      { security: 'starttls' },
    );
    await expect(channel.send(sampleAlert, never)).rejects.toMatchObject({ id: 'alert.not-delivered' });
    await close();
    expect({ asked, mails }).toEqual({ asked: false, mails: [] });
  });

  test('a server with a certificate of nobody is not trusted', async () => {
    const { options, mails, close } = await open();
    const untrusting = { ...options, delaysMs: [] };
    delete untrusting.ca;
    await expect(createSmtp(untrusting).send(sampleAlert, never)).rejects.toMatchObject({ id: 'alert.not-delivered' });
    await close();
    expect(mails).toEqual([]);
  });

  test('a wrong password is not tried again, and not told', async () => {
    const { options, attempts, close } = await open();
    const error = (await createSmtp({ ...options, password: new Secret('wrong-hidden') })
      .send(sampleAlert, never)
      .catch((thrown: unknown) => thrown)) as Error;
    await close();
    expect(error).toMatchObject({ reason: 'it does not take the user and password' });
    expect(attempts()).toBe(1);
    expect(String(error.stack)).not.toMatch(/hidden/);
  });

  test('a line break in a title makes no header', async () => {
    const { channel, mails, close } = await open();
    await channel.send({ ...sampleAlert, title: 'a\r\nBcc: mallory@example.org' }, never);
    await close();
    expect(mails[0]?.to).toEqual(['oncall@example.net', 'boss@example.net']);
    expect(mails[0]?.text).not.toMatch(/^Bcc:/m);
  });
});
