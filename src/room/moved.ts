import type { Config } from '../config/schema.ts';
import type { Facts } from '../store/facts.ts';

interface Move {
  /** The room that the configuration named then. */
  from: string;
  to: string;
}

/**
 * The admin room: that of the configuration, or the one that Steward has moved to from it. A configuration that names
 * another room than it did then is believed.
 */
export function adminRoomId(config: Config, facts: Facts): string | null {
  const configured = config.room?.id ?? null;
  const move = JSON.parse(facts.get('room_moved') ?? 'null') as Move | null;
  return move !== null && move.from === configured ? move.to : configured;
}

/** Steward works in `to` from now on, also after a restart. */
export function moveAdminRoom(config: Config, facts: Facts, to: string): void {
  facts.set('room_moved', JSON.stringify({ from: config.room?.id ?? '', to } satisfies Move));
}
