import { medianRatio, spreadOf } from './statistics.ts';

/** One side of a measurement: what ran, and what each round gave. */
export interface Side {
  /** The command line or message; names stand for paths and tokens. */
  ran: string;
  unit: 's' | 'ms' | 'MiB' | 'MB' | 'kB' | 'requests';
  values: readonly number[];
}

/** A number to reach, as it was met. */
export interface Limit {
  name: string;
  value: number;
  unit: 'ratio' | Side['unit'];
  reach: number;
  steward: Side;
  /** What a user would do otherwise; where a limit is absolute, it is only told. */
  rival?: Side | undefined;
  /** Conditions that the numbers depend on. */
  on: string;
}

/** `steward` divided by `rival`, round by round. */
export function ratioLimit(name: string, reach: number, steward: Side, rival: Side, on: string): Limit {
  return { name, value: medianRatio(steward.values, rival.values), unit: 'ratio', reach, steward, rival, on };
}

/** `steward` alone, with what else ran beside it. */
export function absoluteLimit(name: string, reach: number, steward: Side, on: string, rival?: Side): Limit {
  return { name, value: spreadOf(steward.values).median, unit: steward.unit, reach, steward, rival, on };
}

export function passes({ value, reach }: Limit): boolean {
  return value <= reach;
}

/** The line that a bench prints. */
export function lineOf(limit: Limit): string {
  const { name, value, unit, reach, steward, rival, on } = limit;
  return JSON.stringify({
    name,
    value: round(value),
    unit,
    op: '<=',
    reach,
    pass: passes(limit),
    n: steward.values.length,
    steward: told(steward),
    ...(rival === undefined ? {} : { rival: told(rival) }),
    on,
  });
}

function told({ ran, unit, values }: Side): Record<string, unknown> {
  const { median, min, max } = spreadOf(values);
  return { ran, unit, median: round(median), min: round(min), max: round(max) };
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}
