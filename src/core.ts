import { Backups } from './backup/backups.ts';
import { Heartbeat } from './backup/heartbeat.ts';
import { BackupReports } from './backup/reports.ts';
import type { OwnPart } from './backup/own.ts';
import { Restores, stateWords } from './backup/restores.ts';
import { Unlocks } from './backup/unlocks.ts';
import { Bootstrap } from './homeserver/bootstrap.ts';
import { provisionAgain } from './homeserver/delegated.ts';
import { ProbeUser } from './homeserver/probe-user.ts';
import { reattach } from './homeserver/reattach.ts';
import { previousToken, tokenFileOf } from './config/token-file.ts';
import { writePrivateFile } from './secrets/private-file.ts';
import { DeviceStore, type DeviceStatus } from './store/device.ts';
import { answersClients } from './homeserver/answers.ts';
import { RestoreStore } from './store/restores.ts';
import { mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { steward } from './audit/audit.ts';
import { AuditLog } from './audit/log.ts';
import { ReadCounts } from './audit/reads.ts';
import { Alerts } from './alerts/alerts.ts';
import type { AlertChannel } from './alerts/channel.ts';
import { createAlertChannels } from './alerts/channels.ts';
import { Reserve } from './audit/reserve.ts';
import { systemClock, systemIds, type Clock, type Ids } from './clock.ts';
import { allCommands } from './commands/all.ts';
import { approvedAlone, brokenGlass } from './commands/approval/alerts.ts';
import type { CommandContext, SelfStatus } from './commands/context.ts';
import { Dispatcher, type ContextMaker } from './commands/dispatch.ts';
import { CommandExecutor } from './commands/executor.ts';
import { freezeGate } from './commands/server/freeze.ts';
import type { Gate } from './commands/gate.ts';
import { prepareScheduled, whyHeld } from './commands/scheduled.ts';
import { supersededGate } from './commands/superseded-gate.ts';
import { identityGate, identityStanding } from './commands/identity-gate.ts';
import { lockGate } from './commands/job/lock-gate.ts';
import { jobReply } from './commands/job-reply.ts';
import { promptReply } from './commands/prompt.ts';
import type { Registry } from './commands/registry.ts';
import { lockDownGate, ownerGate } from './commands/room-gates.ts';
import type { Reloadable, ReloadOutcome } from './config/reloadable.ts';
import { Doctor } from './doctor/doctor.ts';
import { engineLook } from './doctor/engine.ts';
import type { Finding } from './doctor/line.ts';
import { lookAtCrypto } from './doctor/crypto.ts';
import { lookAtRoom } from './doctor/room.ts';
import { Failure } from './failures/failure.ts';
import type { FailureId } from './failures/table.ts';
import type { ClientApi } from './homeserver/admin-room.ts';
import { SynapseHttp } from './homeserver/synapse/http.ts';
import { Synapse } from './homeserver/synapse/synapse.ts';
import type { Reply } from './reply/reply.ts';
import { ageRung } from './secrets/age.ts';
import { expectationOf } from './room/expected.ts';
import { RoomGuard } from './room/guard.ts';
import type { Expectation } from './room/inspection.ts';
import { LockDown } from './room/lock-down.ts';
import { adminRoomId, moveAdminRoom } from './room/moved.ts';
import { recoveryFilePath } from './secrets/recovery-file.ts';
import { FileSink } from './secrets/file-sink.ts';
import { BackupRecipients } from './store/backup-recipients.ts';
import { BackupStore } from './store/backups.ts';
import { AuditRows } from './store/audit-rows.ts';
import { crashPoint } from './store/crash-point.ts';
import { HostStack } from './stack/host/host.ts';
import { AlertMessages } from './store/alert-messages.ts';
import { AlertStore } from './store/alerts.ts';
import { ApprovalStore, type ApprovalRecord } from './store/approvals.ts';
import { Decisions } from './store/decisions.ts';
import { Deliveries } from './store/deliveries.ts';
import { EncryptedRooms } from './store/encrypted-rooms.ts';
import { Facts } from './store/facts.ts';
import { Instance } from './store/instance.ts';
import { IdentityPins } from './store/identity-pins.ts';
import { Handovers } from './secrets/handovers.ts';
import { inviteRung } from './secrets/invite.ts';
import { Ladder } from './secrets/ladder.ts';
import { AgeRecipients } from './store/age-recipients.ts';
import { HandoverStore } from './store/handovers.ts';
import { Holds } from './store/holds.ts';
import { Inbox } from './store/inbox.ts';
import { JobStore } from './store/jobs.ts';
import { StandingApprovalStore } from './store/standing-approvals.ts';
import { ScheduleStore } from './store/schedules.ts';
import { takeLock } from './store/lock.ts';
import { Store } from './store/store.ts';
import type { Log } from './telemetry/log.ts';
import { noMetrics, type Metrics } from './telemetry/metrics.ts';
import { LocalSession, ShellWaiters } from './terminal/session.ts';
import { version } from './version.ts';
import { Approvals, isAlerted } from './workflow/approvals.ts';
import { Freeze } from './workflow/freeze.ts';
import { asJob, type Job, type SettledJob } from './workflow/job.ts';
import { Jobs } from './workflow/jobs.ts';
import { Scheduler, type ScheduleReports } from './workflow/schedule/scheduler.ts';
import { StandingApprovals } from './workflow/standing.ts';
import { Schedules } from './workflow/schedule/schedules.ts';

/** Milliseconds that a start waits for another process to let go of the store. */
const lockWait = 5000;

export interface CoreHooks {
  metrics: Metrics;
  /** What a connection adds to the status; null where there is none. */
  self: () => Pick<SelfStatus, 'syncAge' | 'degraded' | 'outboxPending'>;
  device: () => Promise<DeviceStatus | null>;
  /** The admin room, or null while it is not connected. */
  room: () => { encrypted: boolean } | null;
  asked: (job: Job, approval: ApprovalRecord) => void;
  approved: (job: Job) => void;
  countdown: (job: Job, left: number) => void;
  settled: (job: SettledJob) => void;
  progress: (job: Job, finished: number, words?: string) => void;
  reloaded: (changed: readonly string[]) => void;
  /** The account has lost its device: its keys are made anew. */
  deviceLost: () => Promise<void>;
  /** Lines of the doctor that other parts know how to look at. */
  looks: Record<'room' | 'crypto', (homeserver: Synapse) => Promise<Finding>>;
}

/** The parts that daemon and shell share: everything but the room. */
export interface Core {
  config: Reloadable;
  clock: Clock;
  ids: Ids;
  log: Log;
  store: Store;
  pins: IdentityPins;
  instance: Instance;
  audit: AuditLog;
  reads: ReadCounts;
  reserve: Reserve;
  jobs: Jobs;
  approvals: Approvals;
  jobStore: JobStore;
  dispatcher: Dispatcher;
  waiters: ShellWaiters;
  registry: Registry;
  sink: FileSink;
  alerts: Alerts;
  doctor: Doctor;
  handovers: Handovers;
  ladder: Ladder;
  guard: RoomGuard;
  lockDown: LockDown;
  /** The admin room now, or null where none is configured. */
  roomId: () => string | null;
  restores: Restores;
  backupReports: BackupReports;
  heartbeat: Heartbeat;
  unlocks: Unlocks;
  hooks: CoreHooks;
  jobReply: (job: SettledJob) => Reply;
  /** Reads the configuration again, and writes down why and what changed. */
  reload(cause: string): ReloadOutcome;
  schedules: Schedules;
  /** For the daemon alone: a shell that took the store runs no schedules. */
  scheduler(reports: ScheduleReports): Scheduler;
  session(): LocalSession;
  close(): void;
}

/** What a core is made of that a test may replace: time, chance and the commands. */
export interface CoreParts {
  clock: Clock;
  ids: Ids;
  registry: Registry;
  /** The Client-Server API that the room guard asks. */
  client?: ClientApi;
  /** Takes the store for this process. */
  hold?: () => HeldStore;
}

/** A store, and what gives up the right to it. */
interface HeldStore {
  store: Store;
  release: () => void;
}

const ownParts = (): CoreParts => ({ clock: systemClock, ids: systemIds, registry: allCommands() });

/**
 * Takes the store and puts the parts together.
 *
 * @throws Failure `store.locked` when another Steward owns the store, and the other failures of `store`
 */
export async function openCore(config: Reloadable, log: Log, parts: CoreParts = ownParts()): Promise<Core> {
  const { clock, ids, registry } = parts;
  const startedAt = clock.now();
  const { dataDir } = config.current;
  makeFolder(dataDir);
  const reserve = new Reserve(join(dataDir, 'audit', 'reserve'));
  const { store, release } = await (parts.hold?.() ?? holdStore(dataDir, reserve, clock));
  const facts = new Facts(store);
  const instance = new Instance(store, facts, ids);
  const audit = new AuditLog({
    store,
    rows: new AuditRows(store),
    facts,
    clock,
    log,
    dir: join(dataDir, 'audit'),
    exports: join(dataDir, 'exports'),
  });
  reserve.take();
  store.onFull = () => {
    if (reserve.held) log.error('the disk is full; the space kept back for the audit is given back');
    reserve.give();
  };
  const jobStore = new JobStore(store);
  const pins = new IdentityPins(store);
  const waiters = new ShellWaiters();
  const sink = new FileSink(
    config.current.secrets.file.dir ?? join(dataDir, 'secrets'),
    config.current.secrets.file.expire,
    new Deliveries(store),
    clock,
  );
  const scheduleStore = new ScheduleStore(store);
  const standing = new StandingApprovals({
    ...{ store, audit, clock, rows: new StandingApprovalStore(store) },
    approvals: () => approvals,
    schedule: (id) => schedules.ofId(id),
    identityChanged: (person) => identityStanding(pins, config.current, person) === 'changed',
    knownIdentity: (userId) => pins.get(userId)?.identity ?? null,
    config: () => config.current,
  });
  const schedules: Schedules = new Schedules(scheduleStore, standing, clock, ids);
  const recipients = new AgeRecipients(store);
  const handovers = new Handovers({ store, audit, handovers: new HandoverStore(store), sink, ids, log });
  const hooks: CoreHooks = {
    metrics: noMetrics,
    self: () => ({ syncAge: null, degraded: null, outboxPending: 0 }),
    device: () => Promise.resolve(null),
    room: () => null,
    asked: () => undefined,
    approved: () => undefined,
    countdown: () => undefined,
    settled: () => undefined,
    progress: () => undefined,
    reloaded: () => undefined,
    deviceLost: () => {
      store.transaction(() => {
        new DeviceStore(store).forget();
        pins.remove(config.current.homeserver?.userId ?? '');
      });
      return Promise.resolve();
    },
    looks: {
      room: (synapse) =>
        lookAtRoom(synapse, {
          roomId: roomId(),
          configured: config.current.room?.id,
          userId: config.current.homeserver?.userId ?? '',
          guard,
          lockDown,
        }),
      crypto: (synapse) => lookAtCrypto(synapse, roomId(), () => hooks.device()),
    },
  };
  const encryptedRooms = new EncryptedRooms(store);
  const lockDown = new LockDown(store, facts, audit);
  const roomId = (): string | null => adminRoomId(config.current, facts);
  const expectedRoom = (): Expectation => expectationOf(config.current, encryptedRooms.has(roomId() ?? ''));
  const channels = (): readonly AlertChannel[] => createAlertChannels(config.current.alerts, clock);
  const alerts = new Alerts({
    store,
    alerts: new AlertStore(store),
    messages: new AlertMessages(store),
    channels,
    repeat: () => config.current.alerts.repeat,
    clock,
    ids,
    log,
  });
  const stopping = new AbortController();
  const freeze = new Freeze(facts, clock);
  const reload = (cause: string): ReloadOutcome => {
    const outcome = config.reload(({ changed }) => {
      if (changed.length > 0) audit.record({ event: 'config.reloaded', actor: steward, detail: { cause, changed: changed.join(' ') } });
    });
    approvals.review();
    hooks.reloaded(outcome.changed);
    return outcome;
  };
  const homeserver = memoised(
    () => config.current.homeserver,
    'config.no-homeserver',
    (homeserverConfig) => {
      const http = (baseUrl: string): SynapseHttp =>
        new SynapseHttp({
          baseUrl,
          token: homeserverConfig.accessToken,
          clock,
          observe: ({ method, path }, status, duration) => {
            hooks.metrics.homeserverRequest(method, path, status, duration / 1000);
          },
        });
      return new Synapse(homeserverConfig.serverName, http(homeserverConfig.adminUrl ?? homeserverConfig.url), http(homeserverConfig.url));
    },
  );
  // What a Steward that was killed left of copies of a database.
  const copiesDir = join(dataDir, 'scratch');
  rmSync(copiesDir, { recursive: true, force: true });
  const stack = memoised(
    () => config.current.stack,
    'stack.not-configured',
    (settings) => new HostStack({ ...settings, copiesDir, restoresDir: join(dataDir, 'restores') }, clock),
  );
  const doctor = new Doctor({
    config: () => config.current,
    homeserver: () => (config.current.homeserver === undefined ? null : homeserver()),
    store,
    channels,
    undelivered: () => alerts.undelivered(),
    backups: () => (config.current.backup === undefined ? null : backups().list()),
    engine: () => engineLook(config.current, backups, stack),
    restores: () => ({ rows: restores.list(), isBusy: restores.isBusy }),
    powers: async () =>
      config.current.backup === undefined || config.current.stack === undefined
        ? []
        : stack()
            .capabilities()
            // That the database does not answer is told by other lines.
            .catch(() => []),
    recipientsWait: async () => config.current.backup !== undefined && (await backups().keys.recipients.change()) !== null,
    heartbeat: () => (config.current.backup?.heartbeat === undefined ? undefined : heartbeat.last()),
    clock,
    others: { room: (synapse) => hooks.looks.room(synapse), crypto: (synapse) => hooks.looks.crypto(synapse) },
  });
  const ladder = new Ladder(
    {
      invite: inviteRung(() => homeserver().sendsResetMail()),
      dm: { offer: () => Promise.resolve({ refused: 'there is no admin room' }) },
      age: ageRung(recipients),
    },
    handovers,
  );
  const backups = memoised(
    () => config.current.backup,
    'backup.not-configured',
    (settings) =>
      new Backups({
        settings,
        store: new BackupStore(store),
        recipients: new BackupRecipients(store),
        clock,
        log,
        signingKeyPath: join(dataDir, 'backup-signing.key'),
        configPath: resolve(config.path),
        own: ownPart(config, copiesDir),
        version,
        timeZone: () => config.current.timeZone,
      }),
  );
  const restoreStore = new RestoreStore(store);
  const heartbeat = new Heartbeat({ url: () => config.current.backup?.heartbeat?.url ?? null, facts, alerts, clock, log });
  const backupReports = new BackupReports({
    jobs: jobStore,
    rows: () => (config.current.backup === undefined ? [] : backups().list()),
    restores: () => restoreStore.list(),
    ...{ schedules, alerts, clock, heartbeat },
  });
  const unlocks = new Unlocks(clock);
  const restores: Restores = new Restores({
    store: restoreStore,
    backups,
    stack,
    clock,
    log,
    answers: () => answersClients(config.current.homeserver?.url),
    forgetPast: () => {
      facts.remove('sync_token');
    },
    reattach: () => reattachHere(),
    probe: () => {
      const { homeserver: at } = config.current;
      if (at === undefined) return null;
      const own = { userId: at.userId, token: at.accessToken };
      const { url, adminUrl = url, serverName } = at;
      return new ProbeUser({ url, adminUrl, serverName, own, registrationSecret: () => stack().registrationSecret(), clock, ids });
    },
    recovered: (id, state) => {
      store.transaction(() => {
        audit.record({ event: 'restore.recovered', actor: steward, targets: [id], detail: { state } });
        alerts.happened({ id: 'restore.recovered', subject: id, detail: `the restore ${id} was cut off, and is now ${stateWords[state]}` });
        alerts.resolve('doctor.restores');
      });
    },
    stuck: (id, reason) => {
      alerts.raise({ id: 'doctor.restores', detail: `the restore ${id} was cut off, and could not be taken back: ${reason}` });
    },
  });
  const approvalStore = new ApprovalStore(store);
  const decisions = new Decisions(store);
  const inbox = new Inbox(store);
  const approvals: Approvals = new Approvals({
    ...{ store, audit, decisions, clock, ids, approvals: approvalStore, rows: jobStore, holds: new Holds(store) },
    jobs: () => jobs,
    config: () => config.current,
    identityChanged: (person) => identityStanding(pins, config.current, person) === 'changed',
    knownIdentity: (userId) => pins.get(userId)?.identity ?? null,
    encrypted: () => hooks.room()?.encrypted ?? false,
    isRoomHeard: () => hooks.room() !== null,
    isRemoved: (eventId) => inbox.isRemoved(eventId),
    approved: (job) => {
      // After the transaction that this may stand in.
      queueMicrotask(() => {
        if (isAlerted(config.current, job.tier)) alerts.happened(approvedAlone(job));
        hooks.approved(job);
        void jobs.start(job.id).then(() => {
          waiters.left(job.id);
        });
      });
    },
  });
  const guard = new RoomGuard({
    roomId,
    expected: expectedRoom,
    api: () => parts.client ?? homeserver().client,
    store,
    facts,
    lockDown,
    alerts,
    log,
  });
  const moveRoom = (to: string, by: string): void => {
    store.transaction(() => {
      audit.record({ event: 'room.moved', actor: steward, targets: [roomId() ?? '', to], detail: { by } });
      moveAdminRoom(config.current, facts, to);
      guard.moved(by);
    });
  };
  const reattachHere = async (): Promise<string[]> => {
    const { homeserver: at } = config.current;
    if (at === undefined) return [];
    const { accounts, encrypted } = expectedRoom();
    const { delegated } = await stack().facts();
    return reattach({
      bootstrap: new Bootstrap({ url: at.url, adminUrl: at.adminUrl ?? at.url, clock, ids }),
      ids,
      userId: at.userId,
      token: at.accessToken,
      previous: () => previousToken(resolve(config.path)),
      deviceId: at.deviceId ?? new DeviceStore(store).about()?.deviceId ?? 'STEWARD',
      registrationSecret: () => stack().registrationSecret(),
      provisionAgain: !delegated
        ? null
        : async () => {
            const delegation = await stack().delegation();
            await provisionAgain({ delegation, adminUrl: at.adminUrl ?? at.url, clock }, at.userId, at.accessToken);
            await hooks.deviceLost();
            reload('restore');
          },
      keepToken: async (token) => {
        const path = tokenFileOf(resolve(config.path), process.env);
        if (path === null)
          throw new Failure('restore.not-attached', {
            reason: 'the configuration names no `homeserver.access_token_file` for a new token',
          });
        await writePrivateFile(`${path}.previous`, `${at.accessToken.reveal()}\n`);
        await writePrivateFile(path, `${token.reveal()}\n`);
        await hooks.deviceLost();
        reload('restore');
      },
      rooms: [...new Set([roomId(), config.current.room?.id ?? null])].filter((room) => room !== null),
      members: [...accounts],
      encrypted,
      moveRoom: (to) => {
        moveRoom(to, 'steward');
      },
    });
  };
  const context: ContextMaker = (requester, secrets, message = null): CommandContext => ({
    requester,
    secrets,
    message,
    approvals,
    get adminRoomId() {
      return roomId();
    },
    get room() {
      return hooks.room();
    },
    config: config.current,
    get homeserver() {
      return homeserver();
    },
    get stack() {
      return stack();
    },
    doctor,
    guard,
    lockDown,
    expectedRoom,
    moveRoom,
    channels,
    get backups() {
      return backups();
    },
    backupReports,
    restores,
    unlocks,
    progress: () => undefined,
    leaving: stopping.signal,
    aside: (wait) => wait(),
    registry,
    sink,
    schedules,
    standing,
    ladder,
    recipients,
    clock,
    ids,
    log,
    audit,
    freeze,
    get jobs() {
      return jobs;
    },
    signal: stopping.signal,
    self: () => ({ version, startedAt, ...hooks.self() }),
    identities: pins,
    device: () => hooks.device(),
    lastUndoable: () => {
      const record = jobStore.lastUndoable(requester);
      return record === null ? null : asJob(record);
    },
    reloadConfig: () => {
      return reload('command');
    },
  });
  const gates: Gate[] = [
    spaceGate(reserve),
    supersededGate(instance),
    freezeGate(freeze),
    lockGate(() => jobs.atWork(), registry),
    ownerGate(() => config.current),
    lockDownGate(lockDown),
    identityGate(pins, () => config.current),
  ];
  const reads = new ReadCounts();
  const dispatcher = new Dispatcher(context, gates, reads);
  const jobs: Jobs = new Jobs({
    store,
    jobs: jobStore,
    audit,
    approvals: approvalStore,
    decisions,
    clock,
    ids,
    log,
    executor: new CommandExecutor(context, gates),
    events: {
      asked: (job, approval) => {
        hooks.asked(job, approval);
      },
      countdown: (job, left) => {
        hooks.countdown(job, left);
      },
      started: (job) => {
        approvals.hold(job);
        standing.used(job);
        if (job.ending?.kind === 'break-glass') alerts.happened(brokenGlass(job, job.ending.reason));
      },
      settled: (job) => {
        approvals.release(job);
        backupReports.settled(job);
        waiters.settled(job);
        hooks.settled(job);
        handovers.release(targetsOf(job), job.origin);
      },
      progress: (job, finished, words) => {
        hooks.progress(job, finished, words);
      },
    },
    objection: (job) => approvals.objection(job) ?? standing.objection(job),
    isVetoHeard: (job) => approvals.isVetoHeard(job),
    lockOf: (command) => registry.find(command)?.lock ?? 'none',
    executeWithin: () => config.current.approval.execution,
  });
  const replyOf = (job: SettledJob): Reply => jobReply(context(job.requester, new Map()), job);
  const promptOf = (job: Job): Reply => {
    const approval = approvals.get(job.id);
    if (approval === null) throw new TypeError(`${job.id} waits for nobody`);
    return promptReply(config.current, job, approval, approvals.approversOf(job, approval), clock.now());
  };
  return {
    config,
    clock,
    ids,
    log,
    store,
    pins,
    instance,
    audit,
    reads,
    reserve,
    jobs,
    approvals,
    jobStore,
    dispatcher,
    waiters,
    registry,
    sink,
    alerts,
    doctor,
    handovers,
    ladder,
    guard,
    lockDown,
    roomId,
    restores,
    backupReports,
    heartbeat,
    unlocks,
    hooks,
    jobReply: replyOf,
    reload,
    schedules,
    scheduler: (reports) => {
      const prepare = prepareScheduled(context, dispatcher, gates, standing);
      const scheduler = new Scheduler({
        store,
        audit,
        schedules: scheduleStore,
        standing,
        isHeld: (schedule) => whyHeld(registry, gates, schedule) !== null,
        jobStore,
        jobs: () => jobs,
        prepare,
        reports,
        jobReply: replyOf,
        complete: (schedule, reply) => backupReports.complete(schedule, reply),
        clock,
        log,
      });
      schedules.listen(() => {
        scheduler.wake();
      });
      return scheduler;
    },
    session: () =>
      new LocalSession({
        ...{ store, audit, dispatcher, jobs, approvals, waiters, ids, clock, promptOf },
        metrics: () => hooks.metrics,
        jobReply: replyOf,
      }),
    close: () => {
      stopping.abort();
      try {
        reads.record(audit);
      } catch (error) {
        log.error('the audit could not be written', { error });
      }
      audit.close();
      store.close();
      release();
    },
  };
}

/** The store of the data folder, under its lock. */
async function holdStore(dataDir: string, reserve: Reserve, clock: Clock): Promise<HeldStore> {
  const lock = await withReserve(reserve, () => takeLock(join(dataDir, 'steward.lock'), lockWait, clock));
  try {
    const store = await withReserve(reserve, () => Store.open(join(dataDir, 'steward.db'), crashPoint(process.env['STEWARD_CRASH_AT'])));
    return {
      store,
      release: () => {
        lock.release();
      },
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** What of Steward itself goes into a backup. */
function ownPart(config: Reloadable, scratch: string): OwnPart {
  const { dataDir } = config.current;
  return {
    ...{ scratch, storePath: resolve(dataDir, 'steward.db') },
    environment: () => config.environment,
    environmentPath: resolve(dataDir, 'steward.env'),
    files: () => [
      resolve(config.path),
      ...config.secretFiles,
      resolve(recoveryFilePath(config.current)),
      resolve(dataDir, 'backup-signing.key'),
      resolve(dataDir, 'audit', 'key'),
    ],
  };
}

function targetsOf(job: Job): string[] {
  return job.plan.items.flatMap((item) => item.targets.map((target) => target.id));
}

/** Opens what a full disk keeps closed with the space that was kept back: what mends the disk may need Steward. */
async function withReserve<T>(reserve: Reserve, open: () => T | Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (error) {
    if (!(error instanceof Failure) || error.id !== 'store.unwritable' || !reserve.held || !reserve.give()) throw error;
    return open();
  }
}

/** On a full disk nothing new is begun but what mends it: the space given back is for what goes on. */
const spaceGate =
  (reserve: Reserve): Gate =>
  ({ command }) => {
    if (command.kind !== 'write' || command.always === true || reserve.held || reserve.take()) return;
    throw new Failure('audit.unwritable', { attempted: `run \`${command.name}\``, reason: 'the disk is full' });
  };

/** Made again when its part of the configuration is another, such as after a new token. */
function memoised<Part extends object, T>(part: () => Part | undefined, missing: FailureId, make: (part: Part) => T): () => T {
  let madeFor: Part | undefined;
  let made: T | undefined;
  return () => {
    const now = part();
    if (now === undefined) throw new Failure(missing);
    if (made === undefined || madeFor !== now) {
      made = make(now);
      madeFor = now;
    }
    return made;
  };
}

function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new Failure('store.unwritable', {
      attempted: `make the folder ${path}`,
      reason: `it cannot be made (${(error as NodeJS.ErrnoException).code ?? 'unknown'})`,
      cause: error,
    });
  }
}
