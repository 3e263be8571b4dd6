import type { MatrixClient } from '../../kit/client.ts';
import type { RoomLog } from '../room.ts';

/** Where a script is played. */
export interface Stage {
  /** As alice sees it. */
  readonly room: Pick<RoomLog, 'roomId' | 'events' | 'onEvent' | 'complete'>;
  readonly botId: string;
  /** Paths, addresses and tokens, for `run:` and as `$NAME` in lines. */
  readonly environment: Readonly<Record<string, string>>;
  /** Relative paths of files start here. */
  readonly folder: string;
  readonly steward: {
    readonly isRunning: boolean;
    /** Resolves when it is ready. */
    start(): Promise<void>;
    stop(): Promise<void>;
    kill(): Promise<void>;
  };
  /** Somebody who sits in the room; who does not yet is invited by alice. Errors: there is no such account. */
  person(name: string): Promise<MatrixClient>;
  /** Runs a line of the system's shell to its end. `output` is standard output, then standard error. */
  run(command: string, input?: string): Promise<{ exit: number; output: string }>;
}
