/** The parts of a /sync answer that Steward reads (Matrix Client-Server API, "Syncing"). */
export interface RoomEvent {
  event_id: string;
  type: string;
  sender: string;
  origin_server_ts: number;
  content: Record<string, unknown>;
  state_key?: string;
  /** Of a redaction in rooms up to version 10; later ones carry it in the content. */
  redacts?: string;
  /** `age` is in milliseconds, by the homeserver's own clock. */
  unsigned?: { age?: number; transaction_id?: string };
}

export interface SyncAnswer {
  next_batch: string;
  to_device?: { events?: unknown[] };
  account_data?: { events?: { type: string; content: Record<string, unknown> }[] };
  device_lists?: { changed?: string[]; left?: string[] };
  device_one_time_keys_count?: Record<string, number>;
  device_unused_fallback_key_types?: string[];
  rooms?: {
    join?: Record<
      string,
      { state?: { events?: RoomEvent[] }; timeline?: { events?: RoomEvent[]; limited?: boolean; prev_batch?: string } }
    >;
    leave?: Record<string, unknown>;
    invite?: Record<string, { invite_state?: { events?: Pick<RoomEvent, 'type' | 'sender' | 'content' | 'state_key'>[] } }>;
  };
}

/** The Megolm session that an event was encrypted with. */
export function sessionOf({ content }: RoomEvent): string {
  const { session_id: id } = content;
  return typeof id === 'string' ? id : '';
}
