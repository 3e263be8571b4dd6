import { styleText } from 'node:util';
import type { RoomEvent } from '../kit/client.ts';
import { visible, visibleBlock } from '../src/reply/visible.ts';
import { aboutOf, bodyOf, isEdit, reactionOf, redactionOf } from './content.ts';
import type { RoomLog } from './room.ts';

const nameWidth = 9;
const excerptLength = 50;

/** An event as lines for a person; null where a client would show nothing. */
export function showEvent(event: RoomEvent, room: Pick<RoomLog, 'find'>): string | null {
  const { type, sender, origin_server_ts: at } = event;
  const redacts = redactionOf(event);
  const body = bodyOf(event);
  const key = reactionOf(event);
  if (type === 'm.room.member') return block(at, event.state_key ?? '', `(${String(event.content['membership'])})`);
  if (type === 'm.room.encrypted') return block(at, sender, '(encrypted)');
  if (redacts !== null) return block(at, sender, `removed ${withoutText(room.find(redacts))}`);
  if (key !== null) return block(at, sender, `${key} to ${excerpt(room.find(aboutOf(event) ?? ''))}`);
  return body === null ? null : block(at, sender, `${isEdit(event) ? '(edited) ' : ''}${body}`);
}

/** What a program has printed. */
export function showOutput(text: string): string {
  return block(Date.now(), '@shell', text);
}

function block(at: number, userId: string, text: string): string {
  const time = new Date(at).toTimeString().slice(0, 8);
  const margin = ' '.repeat(time.length + nameWidth + 2);
  const name = visible(localpart(userId));
  const colour = name === 'steward' ? 'green' : 'cyan';
  return `${styleText('dim', time)} ${styleText(colour, name.padEnd(nameWidth))} ${visibleBlock(text).trim().split('\n').join(`\n${margin}`)}`;
}

/** What was removed was removed for a reason. */
function withoutText(event: RoomEvent | undefined): string {
  if (event === undefined) return 'something';
  return reactionOf(event) ?? `a message of ${localpart(event.sender)}`;
}

function excerpt(event: RoomEvent | undefined): string {
  if (event === undefined) return 'something';
  const text = reactionOf(event) ?? bodyOf(event)?.split('\n')[0] ?? event.type;
  return `${localpart(event.sender)}: ${text.length > excerptLength ? `${text.slice(0, excerptLength - 1)}…` : text}`;
}

function localpart(userId: string): string {
  return userId.slice(1).split(':')[0] ?? userId;
}
