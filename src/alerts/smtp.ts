import type { createTransport as CreateTransportFunction } from 'nodemailer';
import type { Secret } from '../config/secret.ts';
import { Failure } from '../failures/failure.ts';
import type { Alert, AlertChannel, Severity } from './channel.ts';
import type { Patience } from './post.ts';

export interface SmtpOptions extends Patience {
  host: string;
  port: number;
  security: 'tls' | 'starttls' | 'none';
  user: string | undefined;
  password: Secret | undefined;
  from: string;
  to: readonly string[];
  /** PEM of an authority to trust beside those that Node knows. */
  ca?: string;
}

/** Becomes `X-Priority` and its kin. */
const priorities: Record<Severity, 'low' | 'normal' | 'high'> = { info: 'low', warning: 'normal', critical: 'high' };

/**
 * Sends a mail to all receivers. The Message-ID is made of the alert's id, so that a mailbox can drop a repetition. With
 * `starttls` a server that does not offer it is refused, so that nobody between can switch it off. Temporary refusals (4xx)
 * and broken connections are tried again.
 */
export function createSmtp({ clock, timeoutMs = 30_000, delaysMs = [1000, 5000], ...options }: SmtpOptions): AlertChannel {
  return {
    name: 'smtp',
    async send(alert, signal) {
      // Heavy, and most have no mail server here. Not on the time of an attempt.
      const { createTransport } = await import('nodemailer');
      for (let attempt = 0; ; attempt += 1) {
        const outcome = await deliver(createTransport, alert, options, AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]));
        if (outcome === 'taken') return;
        const delay = delaysMs[attempt];
        if (!outcome.retry || delay === undefined || signal.aborted)
          throw new Failure('alert.not-delivered', { attempted: `send alert ${alert.id} by mail`, reason: outcome.reason });
        await clock.sleep(delay, signal);
      }
    },
  };
}

type CreateTransport = typeof CreateTransportFunction;
type MailOptions = Omit<SmtpOptions, keyof Patience>;

async function deliver(
  createTransport: CreateTransport,
  alert: Alert,
  options: MailOptions,
  signal: AbortSignal,
): Promise<'taken' | { reason: string; retry: boolean }> {
  const { host, port, security, user, password, from, to, ca } = options;
  const transport = createTransport({
    host,
    port,
    secure: security === 'tls',
    requireTLS: security === 'starttls',
    ignoreTLS: security === 'none',
    ...(user === undefined ? {} : { auth: { user, pass: password?.reveal() ?? '' } }),
    ...(ca === undefined ? {} : { tls: { ca } }),
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  const stopped = Promise.withResolvers<never>();
  const stop = (): void => {
    transport.close();
    stopped.reject(new Error('stopped'));
  };
  signal.addEventListener('abort', stop);
  try {
    if (signal.aborted) stop();
    const domain = /@([\w.-]+)/.exec(from)?.[1] ?? 'steward';
    const sent = transport.sendMail({
      from,
      to: [...to],
      subject: `[Steward] ${alert.title}`,
      text: `${alert.body}\n`,
      messageId: `<${alert.id}.steward@${domain}>`,
      date: new Date(alert.at),
      priority: priorities[alert.severity],
      headers: { 'auto-submitted': 'auto-generated', 'x-steward-alerts': alert.alerts.join(' ') },
    });
    sent.catch(() => undefined);
    const { rejected } = await Promise.race([sent, stopped.promise]);
    return rejected.length === 0 ? 'taken' : { reason: `it refused ${rejected.length} of ${to.length} receivers`, retry: false };
  } catch (error) {
    return signal.aborted ? { reason: 'it did not answer in time', retry: true } : reasonOf(error);
  } finally {
    signal.removeEventListener('abort', stop);
    stopped.promise.catch(() => undefined);
    transport.close();
  }
}

/** Only codes: what the server said may hold the account's name. */
function reasonOf(error: unknown): { reason: string; retry: boolean } {
  const { code, responseCode } = error as { code?: unknown; responseCode?: unknown };
  if (code === 'EAUTH') return { reason: 'it does not take the user and password', retry: false };
  if (typeof responseCode === 'number') return { reason: `it answered ${responseCode}`, retry: responseCode >= 400 && responseCode < 500 };
  if (code === 'ETLS') return { reason: 'it offers no encryption (STARTTLS)', retry: false };
  return { reason: `it cannot be reached (${typeof code === 'string' && /^[A-Z_]+$/.test(code) ? code : 'unknown'})`, retry: true };
}
