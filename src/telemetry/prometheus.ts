import type { Clock } from '../clock.ts';
import type { MetricsSnapshot, ScrapedMetrics } from './metrics.ts';

/** Metrics in a registry of their own. The library is loaded here, so that only a listener pays for it. */
export async function createPrometheusMetrics({ version, clock }: { version: string; clock: Clock }): Promise<ScrapedMetrics> {
  const { Counter, Gauge, Histogram, Registry } = (await import('prom-client')).default;
  const registry = new Registry();
  const registers = [registry];
  let snapshot: () => MetricsSnapshot = () => ({});

  const commands = new Counter({
    name: 'steward_commands_total',
    help: 'Commands that ended.',
    labelNames: ['command', 'outcome'],
    registers,
  });
  const commandSeconds = new Histogram({
    name: 'steward_command_duration_seconds',
    help: 'How long commands took.',
    labelNames: ['command'],
    buckets: [0.05, 0.2, 0.5, 1, 5, 30, 120, 600, 3600],
    registers,
  });
  const requests = new Histogram({
    name: 'steward_homeserver_request_duration_seconds',
    help: 'Requests to the homeserver; status 0 is no answer.',
    labelNames: ['method', 'endpoint', 'status'],
    buckets: [0.01, 0.05, 0.2, 0.5, 1, 5, 30],
    registers,
  });
  gauge('steward_sync_age_seconds', 'Seconds since the last answered sync.', ({ syncAge }) => syncAge);
  gauge('steward_outbox_pending', 'Replies that wait to be sent.', ({ outboxPending }) => outboxPending);
  gauge('process_resident_memory_bytes', 'Memory held by the process.', () => process.memoryUsage.rss());
  const jobs = new Gauge({
    name: 'steward_jobs',
    help: 'Jobs by state.',
    labelNames: ['state'],
    registers,
    collect() {
      this.reset();
      for (const [state, count] of Object.entries(snapshot().jobs ?? {})) jobs.set({ state }, count);
    },
  });
  scheduleGauge('steward_schedule_last_success_timestamp_seconds', 'When a run of the schedule last ended well.', 'lastSuccess');
  scheduleGauge(
    'steward_schedule_next_run_timestamp_seconds',
    'When it runs next; past where it is late, missing while paused.',
    'nextRun',
  );
  gauge('steward_backup_last_timestamp_seconds', 'Of when the data of the newest backup are.', ({ backup }) => backup?.at);
  gauge(
    'steward_backup_last_proven_timestamp_seconds',
    'Of when the data of the newest backup are that is proven: content L3 and object L1.',
    ({ backup }) => backup?.provenAt ?? undefined,
  );
  gauge('steward_backup_last_size_bytes', 'What the newest backup added to a destination.', ({ backup }) => backup?.bytes);
  gauge('steward_backup_last_duration_seconds', 'How long the newest backup took.', ({ backup }) => backup?.seconds);
  gauge('steward_backup_last_proof_duration_seconds', 'How long its proof took.', ({ backup }) => backup?.proofSeconds);
  gauge(
    'steward_backup_last_content_level',
    'How far the content of the newest backup is proven, 0 to 4.',
    ({ backup }) => backup?.contentLevel,
  );
  gauge(
    'steward_restore_expected_duration_seconds',
    'What a restore would take now, by what was measured.',
    ({ backup }) => backup?.restoreSeconds,
  );
  const objectLevels = new Gauge({
    name: 'steward_backup_last_object_level',
    help: 'How far what is stored of the newest backup is proven, 0 to 5; -1 not at all.',
    labelNames: ['destination'],
    registers,
    collect() {
      this.reset();
      for (const [destination, level] of Object.entries(snapshot().backup?.objectLevels ?? {})) objectLevels.set({ destination }, level);
    },
  });
  new Gauge({ name: 'steward_build_info', help: 'The running version.', labelNames: ['version', 'node'], registers }).set(
    { version, node: process.versions.node },
    1,
  );
  new Gauge({ name: 'process_start_time_seconds', help: 'When the process started.', registers }).set(
    clock.now() / 1000 - process.uptime(),
  );

  function gauge(name: string, help: string, read: (snapshot: MetricsSnapshot) => number | undefined): void {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        const value = read(snapshot());
        if (value === undefined) this.remove();
        else this.set(value);
      },
    });
  }

  function scheduleGauge(name: string, help: string, time: 'lastSuccess' | 'nextRun'): void {
    const times = new Gauge({
      name,
      help,
      labelNames: ['schedule'],
      registers,
      collect() {
        times.reset();
        for (const schedule of snapshot().schedules ?? []) {
          const seconds = schedule[time];
          if (seconds !== null) times.set({ schedule: schedule.name }, seconds);
        }
      },
    });
  }

  return {
    command: (name, outcome, seconds) => {
      commands.inc({ command: name, outcome });
      if (seconds !== undefined) commandSeconds.observe({ command: name }, seconds);
    },
    homeserverRequest: (method, endpoint, status, seconds) => requests.observe({ method, endpoint, status: String(status) }, seconds),
    observe: (source) => {
      snapshot = source;
    },
    render: async () => ({ contentType: registry.contentType, body: await registry.metrics() }),
  };
}
