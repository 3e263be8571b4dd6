import { afterEach, describe, expect, test } from '@jest/globals';
import { systemClock } from '../../src/clock.ts';
import { startHttp, type HealthCheck, type HttpListener } from '../../src/telemetry/http.ts';
import { silentLog } from '../../src/telemetry/log.ts';
import { createPrometheusMetrics } from '../../src/telemetry/prometheus.ts';

let listener: HttpListener | undefined;
afterEach(() => listener?.close());

async function start(checks: () => Promise<HealthCheck[]> = () => Promise.resolve([])) {
  const metrics = await createPrometheusMetrics({ version: '0.1.0', clock: systemClock });
  listener = await startHttp({ listen: '127.0.0.1:0', health: { checks }, metrics, log: silentLog, clock: systemClock, timeoutMs: 100 });
  const { address } = listener;
  return { metrics, get: (path: string, init?: RequestInit) => fetch(`http://${address}${path}`, init) };
}

describe('health', () => {
  test('/livez answers while the event loop turns', async () => {
    const { get } = await start(() => new Promise(() => {}));
    expect((await get('/livez')).status).toBe(200);
  });

  test('/readyz is 200 when every check is well, and says names only', async () => {
    const { get } = await start(() => Promise.resolve([{ name: 'sync', ok: true, detail: 'hidden' }]));
    const answer = await get('/readyz?verbose');
    expect([answer.status, await answer.json()]).toEqual([200, { ready: true, checks: [{ name: 'sync', ok: true }] }]);
  });

  test.each<[string, () => Promise<HealthCheck[]>, object[]]>([
    [
      'one check fails',
      () =>
        Promise.resolve([
          { name: 'sync', ok: true },
          { name: 'store', ok: false, detail: 'hidden' },
        ]),
      [
        { name: 'sync', ok: true },
        { name: 'store', ok: false },
      ],
    ],
    ['the checks throw', () => Promise.reject(new Error('hidden')), [{ name: 'checks', ok: false }]],
    ['the checks hang', () => new Promise(() => {}), [{ name: 'checks', ok: false }]],
  ])('/readyz is 503 when %s', async (_, checks, expected) => {
    const { get } = await start(checks);
    const answer = await get('/readyz');
    expect([answer.status, await answer.json()]).toEqual([503, { ready: false, checks: expected }]);
  });

  test('refuses other methods and paths', async () => {
    const { get } = await start();
    expect((await get('/readyz', { method: 'POST' })).status).toBe(405);
    expect((await get('/livez', { method: 'HEAD' })).status).toBe(200);
    for (const path of ['/', '/constructor', '/__proto__', '/metrics/x']) expect((await get(path)).status).toBe(404);
  });

  test('says when the address is taken', async () => {
    const { metrics } = await start();
    const again = startHttp({
      listen: listener?.address ?? '',
      health: { checks: () => Promise.resolve([]) },
      metrics,
      log: silentLog,
      clock: systemClock,
    });
    await expect(again).rejects.toMatchObject({ id: 'http.not-listening', reason: 'the system says EADDRINUSE' });
  });
});

describe('/metrics', () => {
  test('counts commands and requests, and asks for the gauges at each scrape', async () => {
    const { metrics, get } = await start();
    metrics.command('user list', 'done', 0.3);
    metrics.homeserverRequest('GET', '/_synapse/admin/v2/users/{user}', 404, 0.02);
    let pending = 3;
    const schedules = [
      { name: 'nightly', lastSuccess: 1_700_000_000, nextRun: 1_700_086_400 },
      { name: 'new', lastSuccess: null, nextRun: null },
    ];
    metrics.observe(() => ({ syncAge: 1.5, outboxPending: pending, jobs: { running: 2 }, schedules }));
    const first = await (await get('/metrics')).text();
    for (const line of [
      'steward_commands_total{command="user list",outcome="done"} 1',
      'steward_command_duration_seconds_bucket{le="0.5",command="user list"} 1',
      'steward_homeserver_request_duration_seconds_count{method="GET",endpoint="/_synapse/admin/v2/users/{user}",status="404"} 1',
      'steward_sync_age_seconds 1.5',
      'steward_outbox_pending 3',
      'steward_jobs{state="running"} 2',
      'steward_schedule_last_success_timestamp_seconds{schedule="nightly"} 1700000000',
      'steward_schedule_next_run_timestamp_seconds{schedule="nightly"} 1700086400',
      `steward_build_info{version="0.1.0",node="${process.versions.node}"} 1`,
    ])
      expect(first.split('\n')).toContain(line);
    expect(first).not.toContain('schedule="new"');
    pending = 0;
    metrics.observe(() => ({ outboxPending: pending, jobs: {} }));
    const second = await (await get('/metrics')).text();
    expect(second).toContain('steward_outbox_pending 0\n');
    expect(second).not.toMatch(/^steward_(jobs|sync_age_seconds|schedule_\w+)[{ ]/m);
  });
});
