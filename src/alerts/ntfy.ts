import { Secret } from '../config/secret.ts';
import { Failure } from '../failures/failure.ts';
import type { Alert, AlertChannel, Severity } from './channel.ts';
import { postPatiently, type Patience } from './post.ts';

export interface NtfyOptions extends Patience {
  /** Address of the topic: `https://ntfy.sh/TOPIC`. Who knows it can read. */
  url: Secret;
  /** Access token, where the server wants one. */
  token: Secret | undefined;
}

/** ntfy's priorities, 1 to 5: https://docs.ntfy.sh/publish/#message-priority */
const priorities: Record<Severity, number> = { info: 2, warning: 4, critical: 5 };
/** Tags that ntfy shows as emoji. */
const tags: Record<Severity, string> = { info: 'white_check_mark', warning: 'warning', critical: 'rotating_light' };
/** Bytes; a longer message becomes an attachment: https://docs.ntfy.sh/publish/#limitations */
const longest = 4000;

/** Publishes as JSON to the server's root, which takes text of any language: https://docs.ntfy.sh/publish/#publish-as-json */
export function createNtfy({ url, token, ...patience }: NtfyOptions): AlertChannel {
  return {
    name: 'ntfy',
    async send(alert, signal) {
      const attempted = `send alert ${alert.id} to ntfy`;
      const { root, topic } = split(url, attempted);
      const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token.reveal()}` };
      await postPatiently({ url: root, headers, body: JSON.stringify(payload(alert, topic)), attempted }, patience, signal);
    },
  };
}

function payload({ id, severity, title, body }: Alert, topic: string): Record<string, unknown> {
  return {
    topic,
    title,
    message: cut(`${body}\n(${id})`),
    priority: priorities[severity],
    tags: [tags[severity]],
  };
}

/** The server's root and the topic of `https://ntfy.sh/TOPIC`. */
function split(url: Secret, attempted: string): { root: Secret; topic: string } {
  const [, root, topic] = /^(https?:\/\/[^/?#\s]+(?:\/[^?#\s]*)?)\/([^/?#\s]+)\/?$/.exec(url.reveal()) ?? [];
  if (root === undefined || topic === undefined)
    throw new Failure('alert.not-delivered', { attempted, reason: 'its address is not that of a topic' });
  return { root: new Secret(`${root}/`), topic: decodeURIComponent(topic) };
}

function cut(text: string): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= longest) return text;
  // A character that the cut would halve is left out.
  return `${new TextDecoder('utf-8').decode(bytes.subarray(0, longest)).replace(/\ufffd+$/, '')}…`;
}
