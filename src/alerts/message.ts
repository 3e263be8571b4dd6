import type { AlertRow } from '../store/alerts.ts';
import { severities, type Alert, type Severity } from './channel.ts';
import { alertTable, pageOf, type AlertId } from './table.ts';

/** One alert in a message. */
export interface Told {
  id: AlertId;
  severity: Severity;
  title: string;
  detail: string;
  /** What to do, with commands as `!server doctor`; empty when it is over. */
  next: string;
  /** Where it is written up; empty when it is over. */
  page: string;
  isOver: boolean;
}

/** What is told of alerts that came together: as the channels get it, and in parts for the room. */
export interface AlertMessage {
  ref: string;
  told: readonly Told[];
  alert: Alert;
}

/** @param rows at least one; what is resolved is told as over */
export function messageOf(ref: string, rows: readonly AlertRow[], at: number): AlertMessage {
  const all = rows.map(toldOf);
  const standing = all.filter(({ isOver }) => !isOver);
  // A phone shows how it begins: what is over comes last.
  const told = [...standing, ...all.filter(({ isOver }) => isOver)];
  const severity = severities[Math.max(0, ...standing.map((each) => severities.indexOf(each.severity)))] ?? 'info';
  const title = told.map((each) => (each.isOver ? `over: ${each.title}` : each.title)).join('; ');
  const body = told.map(textOf).join('\n\n');
  return { ref, told, alert: { id: ref, alerts: told.map(({ id }) => id), severity, title: capital(title), body, at } };
}

function toldOf({ id, detail, next, resolvedAt }: AlertRow): Told {
  // A store that a newer version has written is not opened, so that every id in it is known.
  const known = id as AlertId;
  const { severity, title } = alertTable[known];
  const isOver = resolvedAt !== null;
  return { id: known, severity, title, detail, next: isOver ? '' : next, page: isOver ? '' : pageOf(known), isOver };
}

/** Off the homeserver commands are typed in the shell. */
function textOf({ id, title, detail, next, page, isOver }: Told): string {
  if (isOver) return `over: ${title} (${id})\nit was: ${detail}`;
  return `${capital(title)}: ${detail} (${id})\nnext: ${next.replaceAll(/`!([^`]+)`/g, '`steward $1`')}\npage: ${page}`;
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
