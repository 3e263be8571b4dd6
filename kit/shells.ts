import { ensureDebian, hasProgram } from './debian.ts';
import { toStderr, type Progress } from './cache.ts';

/** The shells that completion is made for. Errors: MissingPart. */
export async function ensureShells(progress: Progress = toStderr): Promise<void> {
  await ensureDebian(['zsh', 'fish'], () => hasProgram('zsh') && hasProgram('fish'), progress);
}
