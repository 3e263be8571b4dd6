import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { startChild, type Child } from '../kit/process.ts';

export interface StewardOptions {
  /** The program `steward`. */
  program: string;
  configPath: string;
  logPath: string;
  /** Address of its health checks. */
  healthUrl: string;
}

const startBound = 20_000;
const stopBound = 20_000;

/** Steward as in production: a process of its own with its own configuration. */
export class StewardProcess {
  readonly #options: StewardOptions;
  #child: Child | null = null;

  constructor(options: StewardOptions) {
    this.#options = options;
  }

  get isRunning(): boolean {
    return this.#child?.isRunning ?? false;
  }

  /** Resolves when it is ready, or when it is up and has had no homeserver for a while. Errors: it ended; with the end of its log. */
  async start(): Promise<void> {
    if (this.isRunning) return;
    const { program, configPath, logPath } = this.#options;
    const child = await startChild({ command: [program, 'run', '--config', configPath], logPath });
    this.#child = child;
    const end = performance.now() + startBound;
    while (performance.now() < end) {
      if (!child.isRunning) throw new Error(`Steward did not start: ${child.end ?? ''}\n${await this.#lastLines()}`);
      if (await this.#answers('/readyz')) return;
      await sleep(25);
    }
    if (await this.#answers('/livez')) return;
    await child.kill();
    throw new Error(`Steward does not answer after ${startBound / 1000} s\n${await this.#lastLines()}`);
  }

  /** SIGTERM; resolves when it is gone. Errors: it had to be killed, or ended with a failure. */
  async stop(): Promise<void> {
    const child = this.#child;
    if (child?.isRunning !== true) return;
    await child.stop(stopBound);
    if (child.end !== 'exit code 0')
      throw new Error(`Steward was told to stop, and ended by ${child.end ?? ''}\n${await this.#lastLines()}`);
  }

  /** SIGKILL; resolves when it is gone. */
  async kill(): Promise<void> {
    await this.#child?.kill();
  }

  async #answers(path: string): Promise<boolean> {
    return fetch(`${this.#options.healthUrl}${path}`).then(
      (answer) => answer.ok,
      () => false,
    );
  }

  async #lastLines(): Promise<string> {
    const log = await readFile(this.#options.logPath, 'utf8').catch(() => '');
    return log.trimEnd().split('\n').slice(-20).join('\n');
  }
}
