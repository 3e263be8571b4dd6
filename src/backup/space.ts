import { Failure } from '../failures/failure.ts';
import { sizeText } from '../reply/size.ts';
import type { Destination } from './destinations/destination.ts';

/** What is to be stored in a destination, in bytes; where it is not made yet, no more than it will be for certain. */
export interface Needed {
  bytes: number;
  /** Of the largest object. */
  object: number;
}

/**
 * That a destination can take it, as far as that can be told before.
 *
 * @throws Failure `backup.object-too-large`, `backup.destination-full`
 */
export async function assertSpace(destination: Destination, { bytes, object }: Needed, attempted: string): Promise<void> {
  if (object > destination.largest) throw tooLarge(destination, attempted, `one has at least ${sizeText(object)}`);
  const free = await destination.free();
  if (free !== null && free < bytes)
    throw new Failure('backup.destination-full', {
      attempted,
      reason: `${destination.place} has ${sizeText(free)} free, and at least ${sizeText(bytes)} are needed`,
      hint: 'Make space there, or name another place with `--to`.',
    });
}

/** @param why what tells that it is */
export function tooLarge({ place, largest }: Pick<Destination, 'place' | 'largest'>, attempted: string, why: string): Failure {
  return new Failure('backup.object-too-large', {
    attempted,
    reason: `${place} takes objects of ${sizeText(largest)} at most, and ${why}`,
  });
}
