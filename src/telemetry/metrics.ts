/** What is true at the moment of a scrape. A source that does not know leaves its field out. */
export interface MetricsSnapshot {
  /** Seconds since the last answered sync. */
  syncAge?: number;
  /** Replies that wait to be sent. */
  outboxPending?: number;
  /** Jobs by state. */
  jobs?: Readonly<Record<string, number>>;
  /** Each schedule; times in seconds since the epoch, null where there is none. */
  schedules?: readonly { name: string; lastSuccess: number | null; nextRun: number | null }[];
  /** The newest backup. */
  backup?: BackupSnapshot | null;
}

/** Of the newest backup; times in seconds since the epoch, durations in seconds. */
export interface BackupSnapshot {
  /** Of its data. */
  at: number;
  /** Of the data of the newest one that is proven. */
  provenAt: number | null;
  /** What it added to a destination. */
  bytes: number;
  seconds?: number;
  proofSeconds?: number;
  /** What a restore would take now, by what was measured. */
  restoreSeconds?: number;
  contentLevel: number;
  /** By destination; -1 where what lies there is not what was stored, or was not looked at. */
  objectLevels: Readonly<Record<string, number>>;
}

/** Counts what Steward does. No method throws or waits. */
export interface Metrics {
  /** A command ended: its name (`user create`), its outcome, and how long it took where that is known. */
  command(name: string, outcome: string, seconds?: number): void;
  /** A request to the homeserver ended. `endpoint` is the template of the path, without ids; status 0 means no answer. */
  homeserverRequest(method: string, endpoint: string, status: number, seconds: number): void;
  /** The source of the gauges, asked at each scrape; the last one given counts. */
  observe(source: () => MetricsSnapshot): void;
}

/** Metrics that can be scraped. */
export interface ScrapedMetrics extends Metrics {
  /** The text format of Prometheus. */
  render(): Promise<{ contentType: string; body: string }>;
}

/** Counts nothing: where no http listener is configured. */
export const noMetrics: Metrics = { command: () => {}, homeserverRequest: () => {}, observe: () => {} };
