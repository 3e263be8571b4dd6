export const severities = ['info', 'warning', 'critical'] as const;
export type Severity = (typeof severities)[number];

/** One message about one alert, or about several that came together. Something that an admin must know, also when the homeserver is ill. Holds no secret. */
export interface Alert {
  /** Of the message: the same for every attempt to deliver it, so that a receiver can drop what it has. */
  id: string;
  /** Ids of what it tells of, as docs/operations.md names them: `room.stranger`. */
  alerts: readonly string[];
  severity: Severity;
  /** One line. */
  title: string;
  /** Plain text: the cause, the next command to paste, and the page to read. */
  body: string;
  /** Milliseconds since the epoch. */
  at: number;
}

/**
 * A way off the homeserver. `send` resolves when the receiver has taken the alert, and throws `alert.not-delivered` when
 * it has not after the channel's own retries. It may deliver an alert twice (an answer that was lost), never half.
 * May be called again with the same alert, and for several alerts at once. An aborted signal ends it soon, with the same
 * failure. It neither logs nor throws the channel's address, which is a secret.
 */
export interface AlertChannel {
  /** The key under `alerts:`. */
  readonly name: ChannelName;
  send(alert: Alert, signal: AbortSignal): Promise<void>;
}

export const channelNames = ['webhook', 'ntfy', 'smtp'] as const;
export type ChannelName = (typeof channelNames)[number];
