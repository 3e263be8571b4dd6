import { readFileSync, writeFileSync } from 'node:fs';

const kibPerMib = 1024;

/** Resident memory of a process now, MiB. */
export function residentMemory(pid: number): number {
  return field(pid, 'VmRSS');
}

/** The most that it held since `forgetPeak`, MiB. */
export function peakMemory(pid: number): number {
  return field(pid, 'VmHWM');
}

/** proc(5): 5 in clear_refs sets the peak to what is resident now. */
export function forgetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
}

function field(pid: number, name: string): number {
  const kib = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kib) / kibPerMib;
}
