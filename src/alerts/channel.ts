/** Something that an admin must know, also when the homeserver is ill. Holds no secret. */
export interface Alert {
  /** The same for every repetition of one alert, so that a receiver can drop what it has. */
  id: string;
  severity: 'info' | 'warning' | 'critical';
  /** One line. */
  title: string;
  /** Plain text: the cause, and the next command to paste. */
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
  readonly name: string;
  send(alert: Alert, signal: AbortSignal): Promise<void>;
}
