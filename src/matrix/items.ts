import { Failure } from '../failures/failure.ts';
import type { MatrixClient } from './client.ts';
import type { EncryptedFile } from './crypto/attachment.ts';
import type { EventReader } from './event-reader.ts';
import { fileOf, itemsOf, type RoomCommand } from './message.ts';

/** Bytes and lines of a file with items. */
const largestInput = 1_000_000;
const mostItems = 10_000;

/** Where a command was said. */
export interface Source {
  client: MatrixClient;
  read: EventReader;
  roomId: string;
  /** A file in plain could be exchanged on the homeserver, which the command itself could not. */
  isEncrypted: boolean;
}

/**
 * The items of a command: of its code block, of the file it is the caption of, or of the file it answers.
 *
 * @returns null when it has none
 * @throws Failure `usage.input-too-large`, `usage.input-unreadable`
 */
export async function itemsFor(command: RoomCommand, source: Source): Promise<string[] | null> {
  const items = command.items ?? (await itemsOfFile(command.file ?? (await answeredFile(command.replyTo, source)), source));
  if (items !== null && items.length > mostItems) throw new Failure('usage.input-too-large');
  return items;
}

async function answeredFile(eventId: string | null, { read, roomId }: Source): Promise<string | EncryptedFile | null> {
  return eventId === null ? null : fileOf((await read(roomId, eventId)) ?? {});
}

async function itemsOfFile(file: string | EncryptedFile | null, { client, isEncrypted }: Source): Promise<string[] | null> {
  if (file === null) return null;
  if (isEncrypted && typeof file === 'string')
    throw new Failure('usage.input-unreadable', { reason: 'the file is not encrypted, and this room is' });
  try {
    return itemsOf((await client.download(file, largestInput)).toString('utf8'));
  } catch (error) {
    throw error instanceof RangeError ? new Failure('usage.input-too-large') : new Failure('usage.input-unreadable', { cause: error });
  }
}
