import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { z } from 'zod';
import { ReadCounts } from '../../src/audit/reads.ts';
import { systemClock, systemIds } from '../../src/clock.ts';
import type { CommandContext } from '../../src/commands/context.ts';
import { defineWrite, type Command } from '../../src/commands/define.ts';
import { Dispatcher, type ContextMaker } from '../../src/commands/dispatch.ts';
import { CommandExecutor } from '../../src/commands/executor.ts';
import { jobReply } from '../../src/commands/job-reply.ts';
import { promptReply } from '../../src/commands/prompt.ts';
import { Registry } from '../../src/commands/registry.ts';
import { configSchema } from '../../src/config/schema.ts';
import { Failure } from '../../src/failures/failure.ts';
import { text } from '../../src/reply/parts.ts';
import { ApprovalStore } from '../../src/store/approvals.ts';
import { Decisions } from '../../src/store/decisions.ts';
import { Holds } from '../../src/store/holds.ts';
import { JobStore } from '../../src/store/jobs.ts';
import { Store } from '../../src/store/store.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import { replyMessages, type ShellMessage, type ShellRequest } from '../../src/terminal/messages.ts';
import { noMetrics, type Metrics } from '../../src/telemetry/metrics.ts';
import { LocalSession, ShellWaiters } from '../../src/terminal/session.ts';
import { Approvals } from '../../src/workflow/approvals.ts';
import { Jobs } from '../../src/workflow/jobs.ts';
import { auditOf } from '../audit/support.ts';
import { folder, later, request } from './support.ts';

/** Sessions over a real store, with a command of each tier that a shell can run. */
function opened(run: (ctx: CommandContext) => Promise<void> = () => Promise.resolve(), mode = 'single') {
  const dir = folder();
  const store = Store.open(join(dir, 'steward.db'));
  later(() => {
    store.close();
  });
  const command = (name: string, tier: 'change' | 'confirmed' | 'destructive'): Command =>
    defineWrite({
      name,
      tier,
      summary: 'For tests.',
      lock: 'none',
      bulk: true,
      examples: [],
      args: z.strictObject({ target: z.string().meta({ positional: 0 }) }),
      secrets: { password: { alias: 'p', description: 'A secret.' } },
      result: z.object({ target: z.string() }),
      plan: (_ctx, { target }) => Promise.resolve({ targets: [{ id: target }], changes: [['change ', target]], data: target }),
      run: async (ctx) => {
        await run(ctx);
        return {};
      },
      readBack: (_ctx, target) => Promise.resolve({ target }),
      reply: ({ target }) => [text(`changed ${target}`)],
    });
  const registry = new Registry([
    command('thing change', 'change'),
    command('thing confirm', 'confirmed'),
    command('thing destroy', 'destructive'),
  ]);
  const context: ContextMaker = (requester, secrets) =>
    ({
      requester,
      secrets,
      config,
      registry,
      clock: systemClock,
      ids: systemIds,
      log: silentLog,
      approvals,
      room: null,
      message: null,
      lastUndoable: () => null,
    }) as unknown as CommandContext;
  const config = configSchema.parse({ approval: { mode } });
  const waiters = new ShellWaiters();
  const commands: unknown[][] = [];
  const jobStore = new JobStore(store);
  const audit = auditOf(store, dir);
  const metrics: Metrics = { ...noMetrics, command: (...counted) => void commands.push(counted.slice(0, 2)) };
  const parts = { store, audit, clock: systemClock, ids: systemIds, approvals: new ApprovalStore(store), decisions: new Decisions(store) };
  const approvals: Approvals = new Approvals({
    ...{
      ...parts,
      rows: jobStore,
      holds: new Holds(store),
      jobs: () => jobs,
      config: () => config,
      encrypted: () => false,
      isRemoved: () => false,
      isRoomHeard: () => false,
      identityChanged: () => false,
      knownIdentity: () => null,
    },
    approved: (job) => {
      void jobs.start(job.id).then(() => {
        waiters.left(job.id);
      });
    },
  });
  const jobs: Jobs = new Jobs({
    ...parts,
    jobs: jobStore,
    log: silentLog,
    executor: new CommandExecutor(context, []),
    events: {
      settled: (job) => {
        waiters.settled(job);
      },
      progress: () => undefined,
      asked: () => undefined,
      countdown: () => undefined,
      started: () => undefined,
    },
    objection: () => null,
    lockOf: () => 'none',
    isVetoHeard: () => true,
    executeWithin: () => 60_000,
  });
  // One whose journal cannot be written is looked at again for as long as it runs.
  later(() => jobs.stop(0));
  const session = new LocalSession({
    store,
    dispatcher: new Dispatcher(context, [], new ReadCounts()),
    jobs,
    approvals,
    waiters,
    ids: systemIds,
    clock: systemClock,
    audit,
    metrics: () => metrics,
    promptOf: (job) => promptReply(config, job, approvals.get(job.id)!, [], 0),
    jobReply: (job) => jobReply(context({ kind: 'shell' }, new Map()), job),
  });
  return { session, jobs, jobStore, store, commands };
}

/** All messages; a prompt is answered with `yes`. */
async function said(session: LocalSession, asked: ShellRequest, yes?: boolean): Promise<ShellMessage[]> {
  const all: ShellMessage[] = [];
  for await (const message of session.run(asked)) {
    all.push(message);
    // Asked for the next message first, as the shell does.
    if (message.type === 'prompt' && yes !== undefined) setImmediate(() => void session.decide(message.jobId, yes));
  }
  return all;
}

describe('a session in the process that owns the store', () => {
  test('runs a change at once and gives its result', async () => {
    const { session, commands } = opened();
    expect(await said(session, request('thing', 'change', 'x'))).toMatchObject([
      { type: 'reply', command: 'thing change', outcome: 'done', result: { target: 'x' }, jobId: expect.any(String) },
      { type: 'end' },
    ]);
    expect(commands).toEqual([['thing change', 'done']]);
    expect(await said(session, { ...request('thing', 'change'), items: ['x', 'y'] }, true)).toMatchObject([
      { type: 'prompt', typeTarget: null },
      { type: 'reply', outcome: 'done', result: [{ target: 'x' }, { target: 'y' }] },
      { type: 'end' },
    ]);
  });

  test('asks before what must be confirmed, and for the target of what destroys', async () => {
    let runs = 0;
    const { session } = opened(() => {
      runs += 1;
      return Promise.resolve();
    });
    expect(await said(session, request('thing', 'confirm', 'x'), false)).toMatchObject([
      { type: 'prompt', typeTarget: null },
      { type: 'reply', outcome: 'refused', errorId: 'access.declined' },
      { type: 'end' },
    ]);
    expect(runs).toBe(0);
    expect(await said(session, request('thing', 'destroy', 'x'), true)).toMatchObject([
      { type: 'prompt', typeTarget: 'x' },
      { type: 'reply', outcome: 'done' },
      { type: 'end' },
    ]);
    expect(runs).toBe(1);
  });

  test('keeps secrets in memory, for the run alone', async () => {
    const seen: (string | undefined)[] = [];
    const { session, store } = opened((ctx) => {
      seen.push(ctx.secrets.get('password')?.reveal());
      return Promise.resolve();
    });
    const asked = (verb: string): ShellRequest => ({ ...request('thing', verb, 'x'), secrets: { password: 'geheim-7' } });
    await said(session, asked('change'));
    await said(session, asked('confirm'), true);
    await said(session, asked('confirm'), false);
    expect(seen).toEqual(['geheim-7', 'geheim-7']);
    const tables = store.database.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").all() as { name: string }[];
    expect(tables.length).toBeGreaterThan(2);
    for (const { name } of tables) expect(JSON.stringify(store.database.prepare(`SELECT * FROM ${name}`).all())).not.toContain('geheim');
  });

  test('leaves nothing waiting when its reader stops at the prompt', async () => {
    const { session, jobs } = opened();
    let jobId = '';
    for await (const message of session.run(request('thing', 'confirm', 'x'))) {
      jobId = message.type === 'prompt' ? message.jobId : '';
      break;
    }
    expect(jobs.get(jobId)?.state).toBe('vetoed');
    expect(await session.decide(jobId, true)).toBe(false);
  });

  test('decides jobs of shells only, and each once', async () => {
    const { session, jobs, store } = opened();
    expect(await session.decide('nosuchjob', true)).toBe(false);
    const plan = { command: 'thing confirm', tier: 'confirmed' as const, reasons: [], items: [] };
    const room = store.transaction(() =>
      jobs.create({
        requestId: 'e1',
        plan,
        inputs: [],
        requester: { kind: 'person', person: 'a', userId: '@a:b' },
        origin: { kind: 'room', roomId: '!r', eventId: '$e', threadId: null },
        need: {
          ...{ way: 'confirm', approver: 'requester', persons: 1, excluded: [], typed: null, place: 'room', countdown: 0 },
          until: Date.now() + 60_000,
        },
        undo: null,
        undoes: null,
      }),
    );
    expect(await session.decide(room.id, true)).toBe(false);
    expect(await session.decide(room.id, false)).toBe(false);
    expect(jobs.get(room.id)?.state).toBe('pending');
  });

  test('answers when the run cannot be journaled or is cut off', async () => {
    const { session, jobs, store } = opened(() => {
      store.database.exec('DROP TABLE steps');
      return Promise.resolve();
    });
    expect(await said(session, request('thing', 'change', 'x'))).toMatchObject([
      { type: 'reply', outcome: 'unknown', errorId: 'job.unknown' },
      { type: 'end' },
    ]);
    const cut = opened(async () => {
      await cut.jobs.stop(0);
      throw new Error('aborted');
    });
    expect(await said(cut.session, request('thing', 'change', 'x'))).toMatchObject([
      { type: 'reply', outcome: 'unknown', errorId: 'job.unknown' },
      { type: 'end' },
    ]);
    expect(jobs).toBeDefined();
  });

  test('follows data that break off with the failure', async () => {
    const chunks = async function* () {
      yield await Promise.resolve('[');
      throw new Failure('homeserver.unreachable');
    };
    const all: ShellMessage[] = [];
    for await (const message of replyMessages(
      { command: 'user list', outcome: 'done', parts: [], data: { name: 'u.json', mediaType: 'application/json', chunks: chunks() } },
      undefined,
    ))
      all.push(message);
    expect(all).toMatchObject([
      { type: 'reply', outcome: 'done', dataName: 'u.json' },
      { type: 'data', chunk: '[' },
      { type: 'reply', command: 'user list', outcome: 'unreachable', dataName: null },
      { type: 'end' },
    ]);
  });

  test('refuses what is wrong as an answer', async () => {
    const { session } = opened();
    expect(await said(session, request('thing', 'chance', 'x'))).toMatchObject([
      { type: 'reply', outcome: 'usage', errorId: 'usage.unknown-command' },
      { type: 'end' },
    ]);
  });
});
