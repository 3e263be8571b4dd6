import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { steward, type AuditEntry } from './audit/audit.ts';
import { HeadPosts } from './audit/heads.ts';
import { ownerIds } from './workflow/roles.ts';
import { Reloadable } from './config/reloadable.ts';
import type { Config } from './config/schema.ts';
import { watch } from './doctor/watch.ts';
import { Failure } from './failures/failure.ts';
import { openCore, type Core } from './core.ts';
import { holdsSecret, mayHoldPassword } from './commands/grammar/secrets.ts';
import { MatrixClient } from './matrix/client.ts';
import { RoomCarrier } from './matrix/carrier.ts';
import { Connection } from './matrix/connection.ts';
import { Encryption } from './matrix/crypto/encryption.ts';
import { InstanceMarker } from './matrix/instance-marker.ts';
import { Identities } from './matrix/crypto/identities.ts';
import { Declining } from './matrix/declining.ts';
import { DirectMessages } from './matrix/direct.ts';
import { descriptionsOf, descriptionType } from './matrix/descriptions.ts';
import { eventReader } from './matrix/event-reader.ts';
import { unlockAsked } from './commands/backup/unlock.ts';
import { headReply } from './matrix/audit-head.ts';
import { Exports } from './matrix/exports.ts';
import { greeting } from './matrix/greeting.ts';
import { Intake, type Batch } from './matrix/intake.ts';
import { alertButton, alertReply, alertKeys } from './matrix/alert-room.ts';
import type { Addressing } from './matrix/message.ts';
import { reportButton, reportButtons } from './matrix/report-room.ts';
import { AdminRoom } from './matrix/room.ts';
import { Sender } from './matrix/sender.ts';
import { RoomWriter } from './matrix/writer.ts';
import { RecoveryFile, recoveryFilePath } from './secrets/recovery-file.ts';
import { DeviceStore } from './store/device.ts';
import { EncryptedRooms } from './store/encrypted-rooms.ts';
import { DirectRooms } from './store/direct-rooms.ts';
import { Disclosures } from './store/disclosures.ts';
import type { SettledJob } from './workflow/job.ts';
import { Facts } from './store/facts.ts';
import { Invitations } from './store/invitations.ts';
import { Inbox } from './store/inbox.ts';
import { Outbox } from './store/outbox.ts';
import { Posts } from './store/posts.ts';
import { Undecryptable } from './store/undecryptable.ts';
import { startHttp, type HealthCheck, type HttpListener } from './telemetry/http.ts';
import { createLog, silentLog } from './telemetry/log.ts';
import { createPrometheusMetrics } from './telemetry/prometheus.ts';
import { systemClock } from './clock.ts';
import type { ShellSession } from './terminal/session.ts';
import { serveSocket } from './terminal/socket-server.ts';
import { version } from './version.ts';

const second = 1000;
const hour = 3600 * second;
/** Events and replies are forgotten after this; a repeated event is older than any command by then. */
const remember = 7 * 24 * hour;
/** A sync that has not been answered for so long means that nothing is heard. */
const staleSync = 90 * second;

export interface Daemon {
  /** Resolves with the exit code. */
  stopped: Promise<number>;
  stop(reason: string): void;
}

/**
 * Starts Steward: takes the store, listens on the socket, connects to the room. Without a homeserver, or with one that
 * is down, it stays up for the shell.
 *
 * @param takeOver it acts from now on, and no other copy of its store
 * @throws Failure `config.*`, `store.*`, `http.not-listening`
 */
export async function startDaemon({ configPath, takeOver = false }: { configPath: string; takeOver?: boolean }): Promise<Daemon> {
  const config = new Reloadable(configPath, process.env);
  const log = createLog({ ...config.current.log, clock: systemClock });
  const core = await openCore(config, log);
  await core.instance.claim(join(config.current.dataDir, 'steward.db'), takeOver);
  recordOrLog(core, { event: 'steward.started', actor: steward });
  const stopping = new AbortController();
  let room = config.current.homeserver === undefined || config.current.room === undefined ? null : openRoom(core);
  const socket = await serveSocket(join(config.current.dataDir, 'steward.sock'), core.session(), log);
  const listener = await listen(core, () => room);
  const reload = (): void => {
    try {
      const outcome = core.reload('SIGHUP');
      log.info('the configuration was read again', { count: outcome.changed.length });
    } catch (error) {
      log.error('the configuration cannot be read again; the old one stays', { error });
    }
  };
  process.on('SIGHUP', reload);
  core.hooks.reloaded = () => {
    room?.connection.retry();
    room?.sender.wake();
    core.alerts.wake();
    core.guard.missed();
  };
  const scheduler = core.scheduler({
    spool: (reply) => room?.admin.spool(reply) ?? Promise.resolve(null),
    tell: (cause, reply, file, run) => {
      // Of a read there is nothing more to be seen.
      const buttons = run === undefined || (run.jobId === null && reply.outcome === 'done') ? null : reportButtons(run);
      room?.admin.announce(cause, reply, file, buttons);
      if (reply.command !== null) core.hooks.metrics.command(reply.command, reply.outcome);
    },
    owners: () => ownerIds(config.current),
  });
  core.unlocks.asked = (request) => {
    const { reply, parts } = unlockAsked(request, core.jobs.get(request.jobId), ownerIds(config.current));
    core.waiters.tell(request.jobId, parts);
    void room?.admin.spool(reply).then((file) => room?.admin.announce(`unlock-${request.jobId}-${request.until}`, reply, file));
  };
  let settledInRoom = core.hooks.settled;
  const settled = (job: SettledJob): void => {
    settledInRoom(job);
    scheduler.settled(job);
    // When its answer is in the outbox for the old room.
    if (room !== null && core.roomId() !== room.roomId) queueMicrotask(() => void move());
  };
  core.hooks.settled = settled;
  /** Steward hears and answers in the room that it has moved to. */
  const move = async (): Promise<void> => {
    const old = room;
    if (old === null || stopping.signal.aborted || core.roomId() === old.roomId) return;
    room = openRoom(core, connectTo, old.encryption);
    settledInRoom = core.hooks.settled;
    core.hooks.settled = settled;
    const opened = room;
    await old.stop();
    void opened.connection.run();
    opened.sender.kick();
  };
  // Without waiting for the homeserver: a restore that was cut off may be why it is down.
  void core.restores.recover();
  if (room === null) {
    log.warn('no homeserver or room is configured; commands are taken from the shell only');
    await core.jobs.recover();
  }
  const housekeeping = keepHouse(core, room, stopping.signal);
  const alerting = core.alerts.run(stopping.signal);
  void watch(
    { look: () => core.doctor.look(), alerts: core.alerts, clock: core.clock, log, every: () => config.current.doctor.every },
    stopping.signal,
  );
  void room?.connection.run();
  const schedules = scheduler.run(stopping.signal);

  let stop: (reason: string) => void = () => undefined;
  const stopped = new Promise<string>((resolve) => {
    stop = resolve;
  }).then(async (reason) => {
    log.info('stopping', { reason });
    process.off('SIGHUP', reload);
    stopping.abort();
    // A read that is still going is left: it is due again at the next start.
    await Promise.race([schedules, systemClock.sleep(3 * second)]);
    await room?.stop();
    await core.jobs.stop(10 * second);
    await room?.sender.idle();
    await socket.close();
    await listener?.close();
    // A sync that is still open is let go: what it brings is not taken any more.
    await housekeeping;
    await alerting;
    recordOrLog(core, { event: 'steward.stopped', actor: steward, detail: { reason } });
    core.close();
    return 0;
  });
  return { stopped, stop };
}

/** The same commands in a process of their own, where no daemon runs. Takes the store. */
export async function openLocalSession(configPath: string): Promise<ShellSession> {
  const core = await openCore(new Reloadable(configPath, process.env), silentLog);
  await core.restores.recover();
  const session = core.session();
  await core.jobs.recoverShell();
  return {
    run: (request) => session.run(request),
    decide: (jobId, yes) => session.decide(jobId, yes),
    close: async () => {
      await core.jobs.stop(10 * second);
      // What was raised here is tried once; what is not taken waits for the daemon.
      await core.alerts.flush(AbortSignal.timeout(20 * second));
      await Promise.race([core.heartbeat.idle(), core.clock.sleep(20 * second)]);
      core.close();
    },
  };
}

/** Steward starts and stops also where that cannot be written down: somebody must mend it. */
function recordOrLog({ audit, log }: Core, entry: AuditEntry): void {
  try {
    audit.record(entry);
  } catch (error) {
    log.error('the audit could not be written', { error });
  }
}

export interface Room {
  roomId: string;
  /** One for the account, whichever room it is in. */
  encryption: Encryption;
  undecryptable: Undecryptable;
  direct: DirectMessages;
  connection: Connection;
  admin: AdminRoom;
  sender: Sender;
  outbox: Outbox;
  inbox: Inbox;
  exports: Exports;
  heads: HeadPosts;
  stop(): Promise<void>;
}

/** @param connect makes the client of a homeserver; a test may give one of its own. @param kept of the room that Steward has left */
export function openRoom(core: Core, connect = connectTo, kept?: Encryption): Room {
  const { config, clock, ids, log, pins, store, hooks, alerts, guard } = core;
  const roomId = core.roomId() ?? '';
  const userId = config.current.homeserver?.userId ?? '';
  const facts = new Facts(store);
  const inbox = new Inbox(store);
  const outbox = new Outbox(store);
  const posts = new Posts(store);
  const exports = new Exports(join(config.current.dataDir, 'exports'), clock, ids);
  let client: MatrixClient | null = null;
  let clientFor: unknown;
  const clientNow = (): MatrixClient => {
    const { homeserver } = config.current;
    if (homeserver === undefined) throw new Failure('config.no-homeserver');
    if (client === null || clientFor !== homeserver) {
      client = connect(homeserver);
      clientFor = homeserver;
    }
    return client;
  };
  const addressing = (): Addressing => ({
    name: config.current.room?.name ?? 'steward',
    barePrefix: config.current.room?.barePrefix ?? true,
    userId,
    mayHoldPassword: (line) => mayHoldPassword(core.registry, line),
  });
  const undecryptable = new Undecryptable(store);
  const encryption =
    kept ??
    new Encryption({
      client: clientNow,
      store,
      devices: new DeviceStore(store),
      rooms: new EncryptedRooms(store),
      pins,
      recovery: new RecoveryFile(recoveryFilePath(config.current)),
      clock,
      log,
      userId,
    });
  const identities = new Identities(pins, () => config.current, clock, core.audit);
  const directRooms = new DirectRooms(store);
  const direct = new DirectMessages({
    roomId,
    userId,
    config: () => config.current,
    client: clientNow,
    encryption,
    pins,
    store,
    rooms: directRooms,
    disclosures: new Disclosures(store),
    posts,
    outbox,
    sender: () => sender,
    clock,
  });
  core.ladder.direct = direct;
  const sender = new Sender({
    client: clientNow,
    store,
    outbox,
    clock,
    ids,
    log,
    sent: (entry, eventId) => {
      if (entry.kind === 'secret') direct.disclosed({ eventId, roomId: entry.roomId, userId: directRooms.userOf(entry.roomId) ?? '' });
      if (entry.post?.kind === 'handover') core.handovers.ended(entry.post.ref, true);
      else if (entry.post !== null) posts.put(eventId, entry.post);
    },
    refused: (entry) => {
      if (entry.post?.kind === 'handover') core.handovers.ended(entry.post.ref, false);
      if (entry.kind === 'redaction') admin.notRemoved(entry);
    },
    tokenLost: () => {
      connection.retry();
    },
    // What is plain is written only where nothing newer can be known of the room. After a restore nothing is said before the room of
    // then was heard: what somebody answers must not come with what is history.
    mayWrite: (room) => facts.get('sync_token') !== null && (encryption.isEncrypted(room) ? connection.wasCurrent : connection.isCurrent),
    cipher: encryption,
    secret: async (entry) => {
      const found = entry.post === null ? null : await core.handovers.textOf(entry.post.ref);
      return found === null ? null : writer.secretContent(found.account, found.note, entry.roomId);
    },
  });
  const writer = new RoomWriter({ roomId, outbox, clock, config: () => config.current });
  core.handovers.carrier = new RoomCarrier({ store, exports, writer, sender, direct });
  const admin = new AdminRoom({
    roomId,
    config: () => config.current,
    client: clientNow,
    read: eventReader({ client: clientNow, encryption, identities }),
    store,
    inbox,
    posts,
    writer,
    jobs: () => core.jobs,
    audit: core.audit,
    approvals: core.approvals,
    sender,
    dispatcher: core.dispatcher,
    exports,
    clock,
    log,
    metrics: () => hooks.metrics,
    jobReply: core.jobReply,
    buttons: { alert: alertButton(alerts, () => config.current, core.lockDown), report: reportButton, disclosed: direct.button },
    holdsSecret: (line) => holdsSecret(line) || mayHoldPassword(core.registry, line),
  });
  const invitations = new Invitations(store);
  const declining = new Declining({
    ...{ client: clientNow, roomId, store, invitations, clock, ids, log },
    announce: (cause, reply) => {
      admin.announce(cause, reply);
    },
  });
  let isFirst = true;
  /** When the last batch has been handed on. */
  let heard = Promise.resolve();
  const connection = new Connection({
    client: clientNow,
    intake: new Intake({
      client: clientNow,
      store,
      inbox,
      facts,
      encryption,
      identities,
      undecryptable,
      invitations,
      clock,
      guard,
      roomId,
      directRooms,
      addressing,
    }),
    instance: new InstanceMarker(core.instance, userId, clientNow),
    clock,
    ids,
    log,
    roomId,
    userId,
    deviceId: config.current.homeserver?.deviceId ?? null,
    storedDevice: () => encryption.deviceId,
    encrypted: (content) => {
      store.transaction(() => {
        encryption.note(roomId, content);
      });
    },
    received: (batch: Batch) => {
      alerts.resolve('room.unheard');
      sender.wake();
      sender.kick();
      // Somebody may have come whom a password waits for.
      core.handovers.kick();
      // With the first batch comes what an earlier run had taken in and not handled: it may have been taken back since.
      const events = isFirst ? inbox.waiting() : batch.fresh;
      isFirst = false;
      // What takes something back only makes less happen, and must be heard before what it takes back runs.
      admin.handle(events.filter(({ type }) => type === 'm.room.redaction'));
      // Before anything else of the batch is acted on, where the room has changed.
      heard = guard.check().then(() => {
        admin.handle(events.filter(({ type }) => type !== 'm.room.redaction'));
      });
      for (const changed of batch.changedIdentities)
        alerts.happened({ id: changed === userId ? 'identity.replaced' : 'identity.changed', subject: changed, detail: changed });
      if (batch.isInvited) declining.kick();
    },
    ready: () => {
      log.info('ready', { room_id: roomId, user_id: userId });
      if (facts.get('greeted') !== roomId) {
        admin.announce(`hello-${roomId}`, greeting(config.current));
        facts.set('greeted', roomId);
      }
      // What came while Steward was away may take back what is about to run.
      void Promise.race([heard.then(() => admin.idle()), clock.sleep(5 * second)]).then(() => core.jobs.recover());
      void publishDescriptions(core, clientNow(), facts, roomId, userId);
      declining.kick();
      sender.kick();
    },
    degraded: (failure) => {
      if (!failure.retry) alerts.raise({ id: 'room.unheard', detail: failure.message, next: failure.hint });
    },
  });
  alerts.room = (message) => {
    const { ref } = message;
    writer.reply(`alert-${ref}`, alertReply(message, config.current), writer.open, null, {
      post: { kind: 'alert', ref },
      keys: alertKeys(message),
    });
    queueMicrotask(() => {
      sender.kick();
    });
  };
  const heads = new HeadPosts({
    store,
    facts,
    clock,
    head: () => core.audit.head(),
    post: (head) => {
      admin.announce(`audit-head-${head.seq}`, headReply(head));
    },
  });
  hooks.room = () => (connection.degraded === null && connection.syncAge !== null ? { encrypted: encryption.isEncrypted(roomId) } : null);
  hooks.asked = (job, approval) => {
    admin.asked(job, approval);
  };
  hooks.approved = (job) => {
    admin.approved(job);
  };
  hooks.countdown = (job, left) => {
    admin.countdown(job, left);
  };
  hooks.settled = (job) => {
    admin.settled(job);
    if (job.tier === 'catastrophic' && job.startedAt !== null) heads.postNow();
  };
  hooks.progress = (job, finished, words) => {
    admin.progress(job, finished, words);
  };
  hooks.self = () => ({ syncAge: connection.syncAge, degraded: connection.degraded?.message ?? null, outboxPending: outbox.pending() });
  hooks.device = () => (encryption.isNeeded ? encryption.status() : Promise.resolve(null));
  encryption.warm();
  core.handovers.kick();
  return {
    roomId,
    encryption,
    connection,
    admin,
    sender,
    outbox,
    inbox,
    direct,
    undecryptable,
    exports,
    heads,
    stop: async () => {
      connection.stop();
      await Promise.race([admin.idle(), clock.sleep(5 * second)]);
      await Promise.race([core.handovers.idle(), clock.sleep(second)]);
      await Promise.race([sender.idle(), clock.sleep(3 * second)]);
      sender.stop();
      declining.stop();
      await Promise.race([encryption.idle(), clock.sleep(3 * second)]);
    },
  };
}

function connectTo({ url, accessToken }: NonNullable<Config['homeserver']>): MatrixClient {
  return new MatrixClient(url, accessToken);
}

async function listen(core: Core, roomNow: () => Room | null): Promise<HttpListener | null> {
  const { listen: address } = core.config.current.http;
  if (address === undefined) return null;
  const { clock, log, store, hooks } = core;
  const metrics = await createPrometheusMetrics({ version, clock });
  metrics.observe(() => {
    const room = roomNow();
    return {
      ...(room?.connection.syncAge == null ? {} : { syncAge: room.connection.syncAge / 1000 }),
      ...(room === null ? {} : { outboxPending: room.outbox.pending() }),
      backup: core.backupReports.metrics(),
      jobs: Object.fromEntries(core.jobStore.countByState()),
      schedules: core.schedules.all().map((schedule) => ({
        name: schedule.name,
        lastSuccess: inSeconds(schedule.lastSuccess),
        nextRun: inSeconds(core.schedules.nextRun(schedule)),
      })),
    };
  });
  hooks.metrics = metrics;
  const checks = (): Promise<HealthCheck[]> => {
    const room = roomNow();
    return Promise.resolve([
      { name: 'store', ok: store.isWritable() && core.reserve.take() },
      { name: 'homeserver', ok: room !== null && room.connection.degraded === null },
      { name: 'sync', ok: room?.connection.syncAge != null && room.connection.syncAge < staleSync },
    ]);
  };
  return startHttp({ listen: address, health: { checks }, metrics, log, clock });
}

function inSeconds(ms: number | null): number | null {
  return ms === null ? null : ms / 1000;
}

/** Tells clients that know MSC4391 the commands, once for each set of them. */
async function publishDescriptions(core: Core, client: MatrixClient, facts: Facts, roomId: string, userId: string): Promise<void> {
  const descriptions = descriptionsOf(core.registry, userId);
  const digest = createHash('sha256')
    .update(JSON.stringify([roomId, descriptions]))
    .digest('hex');
  if (facts.get('descriptions') === digest) return;
  try {
    for (const { stateKey, content } of descriptions) await client.setState(roomId, descriptionType, stateKey, content);
    facts.set('descriptions', digest);
  } catch (error) {
    core.log.info('the command descriptions were not published', { error });
  }
}

/** What time ends: confirmations, delivered secrets, old files and events. */
export async function keepHouse(core: Core, room: Room | null, signal: AbortSignal): Promise<void> {
  const { clock, jobs, log, sink } = core;
  let pruned = Number.NEGATIVE_INFINITY;
  while (!signal.aborted) {
    try {
      jobs.expire();
      await sink.expire(clock.now());
      core.handovers.kick();
      core.heartbeat.kick();
      room?.direct.removeDue();
      core.reserve.take();
      room?.heads.postDaily();
      if (clock.monotonic() - pruned > hour) {
        pruned = clock.monotonic();
        core.reads.record(core.audit);
        await room?.exports.prune();
        room?.inbox.prune(clock.now() - remember);
        room?.outbox.prune(clock.now() - remember);
        room?.undecryptable.prune(clock.now() - 24 * hour);
        core.alerts.prune(clock.now() - remember);
      }
    } catch (error) {
      log.error('housekeeping failed', { error });
    }
    await clock.sleep(5 * second, signal);
  }
}
