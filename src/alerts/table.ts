import type { Severity } from './channel.ts';

/**
 * Every alert there is, once. Each has a page in docs/operations.md, to be read at 3 am. The part of an id before the dot
 * is its family.
 */
export interface AlertRecord {
  severity: Severity;
  /** One line without a full stop: what is wrong. */
  title: string;
  /** What to look at or type. */
  next: string;
}

const alert = (severity: Severity, title: string, next: string): AlertRecord => ({ severity, title, next });

export const alertTable = {
  'room.unheard': alert('critical', 'Steward does not hear its admin room', '`!server doctor` in the shell shows why.'),

  'identity.changed': alert(
    'critical',
    'a person has another cross-signing identity, and can neither change anything nor approve',
    'Ask them by another way than this room; then another person confirms it: `server crypto confirm PERSON`.',
  ),
  'identity.replaced': alert(
    'critical',
    "Steward's own cross-signing identity was replaced on the homeserver, and not by Steward",
    'Do not trust what is said here before you know who did it; then `steward crypto reset --new-identity` on the host.',
  ),
  'approval.alone': alert(
    'critical',
    'a catastrophic command was approved by the person who asked',
    '`!veto ID` stops it while it counts down.',
  ),
  'approval.break-glass': alert('critical', 'a command runs without the approval that it needs', '`!audit list` shows who did what since.'),
  'room.stranger': alert('critical', 'somebody who is no operator is in the admin room', '`!server room check`, then `!server room ack`.'),
  'room.replaced': alert(
    'critical',
    'the admin room was replaced',
    '`!server room move`, in the shell where nobody can type in the old room.',
  ),
  'room.power-lost': alert('critical', 'Steward has lost its power in the admin room', '`!server room check`, then `!server room ack`.'),
  'room.weak': alert('warning', 'the admin room is weaker than it should be', '`!server room check` shows how.'),

  'backup.failed': alert(
    'critical',
    'a backup was not made, or not in every place',
    '`!backup create` says what is wrong; `!server doctor` shows the rest.',
  ),

  'backup.late': alert(
    'warning',
    'the nightly backup is late',
    '`!backup schedule` shows when the last one was made and when the next is due.',
  ),

  'backup.shrunk': alert(
    'warning',
    'a backup has half the size of the one before, or less',
    '`!backup list` shows both; was that deleted on purpose? `!backup pin ID` keeps the older one.',
  ),

  'restore.waiting': alert('warning', 'a restore has been waiting for days', '`!restore list` shows it, and what can be done next.'),
  'restore.recovered': alert(
    'critical',
    "Steward's start has taken back or finished a restore that was cut off",
    '`!restore list` shows where it is; does the homeserver answer?',
  ),
  'doctor.restores': alert('critical', 'a restore stands half-way', '`restore undo` in the shell, when what the message names is mended.'),

  'doctor.homeserver': alert('critical', 'the homeserver does not answer', 'Start Synapse; `!server doctor` shows whether it answers.'),
  'doctor.token': alert(
    'critical',
    "the homeserver does not take Steward's access token",
    'Run `steward init --admin-token-file FILE` on the host.',
  ),
  'doctor.admin': alert('critical', 'Steward is no server admin', 'Run `steward init --admin-token-file FILE` on the host.'),
  'doctor.rate-limit': alert(
    'warning',
    'the homeserver limits how fast Steward may answer',
    '`!server doctor` shows the line that lifts it.',
  ),
  'doctor.room': alert('critical', 'the admin room cannot be used', '`!server doctor` shows why.'),
  'doctor.crypto': alert('critical', 'encryption is broken', '`!server doctor` shows why.'),
  'doctor.store': alert('critical', 'the store cannot be written', 'Make space on the disk of `data_dir`, or make it writable.'),
  'doctor.disk': alert('critical', 'the disk is nearly full', 'Make space on the disk of `data_dir`.'),
  'doctor.clock': alert(
    'warning',
    "this machine's clock and the homeserver's differ",
    'Is time synchronisation (chrony, NTP) running on both?',
  ),
  'doctor.backups': alert('critical', 'there is no young proven backup', '`!backup create` makes one.'),
  'doctor.engine': alert(
    'critical',
    'the engine that guards the database has no young backup',
    '`!backup create` has it make one; its own log says more.',
  ),
  'doctor.heartbeat': alert(
    'warning',
    'the monitor of backups does not take the heartbeat',
    'Does the address in `backup.heartbeat.url_file` answer from here?',
  ),
  'doctor.channels': alert('warning', 'alerts cannot leave the homeserver', '`!server doctor --send-test` tries each channel.'),
} as const satisfies Record<string, AlertRecord>;

export type AlertId = keyof typeof alertTable;

/** Where the page of an alert is: a heading of docs/operations.md. */
export function pageOf(id: AlertId): string {
  return `docs/operations.md#${`alert ${id}`.replaceAll(' ', '-').replaceAll('.', '')}`;
}
