import { z } from 'zod';
import { list, text, type Line, type Part } from '../../reply/parts.ts';

/** What a change of keys came to for each destination's rescue sheet. */
export const sheetsShape = z
  .array(z.object({ destination: z.string(), problem: z.string().nullable() }))
  .describe('Rescue sheets that were renewed, or why not.');

export type Sheet = z.output<typeof sheetsShape>[number];

/** Names those that were not renewed. */
export function sheetsPart(sheets: readonly Sheet[]): Part[] {
  const failed = sheets.flatMap(({ destination, problem }): Line[] => (problem === null ? [] : [[`${destination}: ${problem}`]]));
  return failed.length === 0 ? [] : [text('The rescue sheet is renewed by the next backup in:'), list(failed)];
}
