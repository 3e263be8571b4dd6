import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Failure } from '../../failures/failure.ts';

const execute = promisify(execFile);

/** Milliseconds that an answer about what is there may take. */
export const lookBound = 25_000;
const saidAtMost = 64 << 20;

/** Runs the program of an engine; no shell. @returns what it wrote @throws Failure `backup.engine-failed` */
export async function runEngine(
  attempted: string,
  command: readonly string[],
  { signal, timeout }: { signal?: AbortSignal | undefined; timeout?: number },
): Promise<string> {
  const [program = '', ...args] = command;
  const options = {
    maxBuffer: saidAtMost,
    encoding: 'utf8' as const,
    ...(signal === undefined ? {} : { signal }),
    ...(timeout === undefined ? {} : { timeout }),
  };
  const running = execute(program, args, options);
  // What asks something gets no answer.
  running.child.stdin?.end();
  try {
    return (await running).stdout;
  } catch (error) {
    signal?.throwIfAborted();
    const {
      stderr = '',
      stdout = '',
      code,
      killed,
    } = error as { stderr?: string; stdout?: string; code?: number | string; killed?: boolean };
    const said =
      (stderr.trim() || stdout.trim())
        .split('\n')
        .filter((line) => /error|fail/i.test(line))
        .at(-1) ?? '';
    const how = killed === true ? 'did not answer in time' : code === 'ENOENT' ? 'is not there' : `ended with exit code ${String(code)}`;
    throw new Failure('backup.engine-failed', {
      attempted,
      reason: `${program} ${how}${said === '' ? '' : `: ${said.trim().slice(0, 300)}`}`,
      cause: error,
    });
  }
}

/** @throws Failure `backup.engine-failed` */
export function parsed(attempted: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Failure('backup.engine-failed', { attempted, reason: 'what it wrote is no JSON', cause: error });
  }
}
