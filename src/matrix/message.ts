import { readEncryptedFile, type EncryptedFile } from './crypto/attachment.ts';
import { hasPills, textOfPills } from './pills.ts';
import { quote } from '../commands/grammar/tokenise.ts';
import { holdsSecret } from '../commands/grammar/secrets.ts';

/** A command as a message carries it: what is kept of the event until it is handled. */
export interface RoomCommand {
  /** Without prefix and name. */
  line: string;
  /** Lines of a code block under it. */
  items: string[] | null;
  /** Root of the thread it was typed in. */
  threadId: string | null;
  /** The event it answers, whose file may hold the items. */
  replyTo: string | null;
  /** The file it is the caption of: its address, or how it is encrypted. */
  file: string | EncryptedFile | null;
}

export type Reading =
  | { kind: 'none' }
  /** An edit that would be a command. */
  | { kind: 'edit' }
  /** It holds a password or token, or a word that may be one; nothing of it is kept. */
  | { kind: 'secret'; certain: boolean }
  /** It may ask for something, and cannot be trusted. */
  | Locked
  | { kind: 'command'; command: RoomCommand };

/**
 * Why an event of an encrypted room is not acted on: it came in plain, its device is not signed by its owner, its key has
 * not come, or it cannot be decrypted. `session` is the Megolm session it was encrypted with.
 */
export interface Locked {
  kind: 'locked';
  why: 'plain' | 'unsigned' | 'missing-key' | 'undecryptable';
  session: string | null;
}

export interface Addressing {
  name: string;
  barePrefix: boolean;
  userId: string;
  /** Whether a line without prefix and name has a bare word where a password may be. */
  mayHoldPassword: (line: string) => boolean;
}

const none: Reading = { kind: 'none' };
const certain: Reading = { kind: 'secret', certain: true };

/**
 * Reads the content of an `m.room.message`: whether it asks Steward for something, and what. Notices are other bots',
 * and edits are never run.
 */
export async function readMessage(content: Record<string, unknown>, addressing: Addressing): Promise<Reading> {
  const { msgtype } = content;
  if (msgtype !== 'm.text' && msgtype !== 'm.file') return none;
  const relation = recordOf(content['m.relates_to']);
  if (relation['rel_type'] === 'm.replace') {
    const edited = recordOf(content['m.new_content']);
    const command = typeof edited['body'] === 'string' ? addressed(edited['body'], addressing) : null;
    if (command === null) return none;
    return secretIn(command, addressing) ?? { kind: 'edit' };
  }
  const structured = structuredLine(content, addressing);
  const text = structured ?? (await textOf(content));
  if (text === null) return none;
  const command = structured ?? addressed(text, addressing);
  if (command === null) return none;
  const secret = secretIn(command, addressing) ?? (typeof content['body'] === 'string' && holdsSecret(content['body']) ? certain : null);
  if (secret !== null) return secret;
  const { line, items } = splitItems(command);
  const reply = recordOf(relation['m.in_reply_to'])['event_id'];
  const threadId = relation['rel_type'] === 'm.thread' && typeof relation['event_id'] === 'string' ? relation['event_id'] : null;
  // In a thread the reply is a fallback that the client made up, unless it says otherwise.
  const isReply = typeof reply === 'string' && !(threadId !== null && relation['is_falling_back'] === true);
  return {
    kind: 'command',
    command: {
      line: line === '' ? 'help' : line,
      items,
      threadId,
      replyTo: isReply ? reply : null,
      file: fileOf(content),
    },
  };
}

/** The file of a message, or null. */
export function fileOf(content: Record<string, unknown>): string | EncryptedFile | null {
  if (content['msgtype'] !== 'm.file') return null;
  const { url } = content;
  return typeof url === 'string' ? url : readEncryptedFile(content['file']);
}

async function textOf(content: Record<string, unknown>): Promise<string | null> {
  const { body, filename, formatted_body: formatted } = content;
  if (typeof body !== 'string') return null;
  // Without a caption the body of a file is its name.
  if (content['msgtype'] === 'm.file' && (filename === undefined || filename === body)) return null;
  const plain = withoutQuote(body).trim();
  if (!plain.startsWith('!') || !hasPills(formatted)) return plain;
  // HTML may be made so that no parser survives it.
  return (await textOfPills(formatted).catch(() => plain)).trim();
}

/** The body without the quoted message that older clients put before an answer. */
function withoutQuote(body: string): string {
  return body.startsWith('> ') ? body.replace(/^(?:> ?.*(?:\n|$))+\n?/, '') : body;
}

/** The command line when the text addresses Steward, else null. */
function addressed(text: string, { name, barePrefix }: Addressing): string | null {
  const trimmed = text.trimStart();
  if (!trimmed.startsWith('!')) return null;
  const rest = trimmed.slice(1);
  const named = new RegExp(`^${name}(?=\\s|$)`, 'iu').exec(rest);
  if (named !== null) return rest.slice(named[0].length).trim();
  return barePrefix && /^[a-z]/iu.test(rest) ? rest.trim() : null;
}

/** MSC4391: a client that knows the command descriptions sends the arguments by name. */
function structuredLine(content: Record<string, unknown>, { userId }: Addressing): string | null {
  const structured = content['org.matrix.msc4391.command'];
  if (typeof structured !== 'object' || structured === null) return null;
  const { command, arguments: given } = structured as { command?: unknown; arguments?: unknown };
  const mentioned = recordOf(content['m.mentions'])['user_ids'];
  if (typeof command !== 'string' || !(Array.isArray(mentioned) && mentioned.includes(userId))) return null;
  const options = Object.entries(recordOf(given)).flatMap(([key, value]) => {
    if (value === true) return [`--${key}`];
    if (value === false || value === null) return [];
    if (Array.isArray(value)) return value.map((item) => quote(String(item)));
    return [`--${key}=${quote(typeof value === 'string' ? value : JSON.stringify(value)) || '""'}`];
  });
  return [command, ...options].join(' ');
}

/** Passwords and tokens are never taken in a room: neither what is one by its form, nor a word that may be one. */
function secretIn(command: string, { mayHoldPassword }: Addressing): Reading | null {
  if (holdsSecret(command)) return certain;
  const { line, items } = splitItems(command);
  const lines = items === null ? [line] : items.map((item) => `${line} ${item}`);
  return lines.some(mayHoldPassword) ? { kind: 'secret', certain: false } : null;
}

function splitItems(command: string): { line: string; items: string[] | null } {
  const [line = '', ...below] = command.split('\n');
  const block = below.join('\n').trim();
  const isFenced = block.startsWith('```') && block.includes('\n') && block.endsWith('```');
  return isFenced ? { line: line.trim(), items: itemsOf(block.slice(block.indexOf('\n') + 1, -3)) } : { line: command, items: null };
}

/** One item a line; empty lines are passed over. */
export function itemsOf(text: string): string[] {
  return text
    .split(/\r?\n/u)
    .map((line) => line.trim())
    .filter((line) => line !== '');
}

function recordOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}
