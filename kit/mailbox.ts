import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { SMTPServer } from 'smtp-server';

export interface Mail {
  to: string;
  /** Headers and body as they came, quoted-printable undone. */
  text: string;
}

export interface Mailbox {
  readonly port: number;
  readonly mails: readonly Mail[];
  /** The first mail to this address. Errors: none within `ms` (default 10 000). */
  waitFor(to: string, ms?: number): Promise<Mail>;
  close(): Promise<void>;
}

/** A real SMTP server on loopback that takes every mail and keeps it. */
export async function openMailbox(): Promise<Mailbox> {
  const mails: Mail[] = [];
  const waiting = new Set<() => void>();
  const server = new SMTPServer({
    disabledCommands: ['STARTTLS', 'AUTH'],
    onData(stream, session, done) {
      text(stream).then((raw) => {
        for (const { address } of session.envelope.rcptTo) mails.push({ to: address, text: decoded(raw) });
        for (const look of waiting) look();
        done();
      }, done);
    },
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.server.address() as AddressInfo).port,
    mails,
    waitFor: (to, ms = 10_000) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          waiting.delete(look);
          reject(new Error(`no mail to ${to} within ${ms} ms; there are mails to ${mails.map((mail) => mail.to).join(', ') || 'nobody'}`));
        }, ms);
        const look = (): void => {
          const found = mails.find((mail) => mail.to === to);
          if (found === undefined) return;
          clearTimeout(timer);
          waiting.delete(look);
          resolve(found);
        };
        waiting.add(look);
        look();
      }),
    close: () => new Promise((resolve) => server.close(resolve)),
  };
}

/** Bodies in base64 and quoted-printable as they read. */
function decoded(raw: string): string {
  return raw
    .split(/\r?\n\r?\n/u)
    .map((part) => {
      const compact = part.replace(/\s/g, '');
      if (/^[A-Za-z0-9+/]{60,}=*$/u.test(compact)) return Buffer.from(compact, 'base64').toString('utf8');
      return part.replace(/=\r?\n/gu, '').replace(/=([0-9A-F]{2})/gu, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
    })
    .join('\n\n');
}
