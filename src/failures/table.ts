/**
 * Every way a command can fail, once. Feeds the room, the shell's exit codes, docs/errors.md and `!help error <id>`.
 * The part of an id before the dot is its family.
 */

/** How a failure ends a command in the shell: 1 failed, 2 usage, 3 refused, 4 unreachable. */
export type ExitCode = 1 | 2 | 3 | 4;

export interface FailureRecord {
  /** One sentence: what happened. */
  summary: string;
  /** What to look at or type; a question where the cause is a guess. */
  hint: string;
  exit: ExitCode;
  /** Whether the same command may work when tried again with nothing changed. */
  retry: boolean;
}

const usage = (summary: string, hint: string): FailureRecord => ({ summary, hint, exit: 2, retry: false });
const refused = (summary: string, hint: string): FailureRecord => ({ summary, hint, exit: 3, retry: false });
const failed = (summary: string, hint: string, retry = false): FailureRecord => ({ summary, hint, exit: 1, retry });
const unreachable = (summary: string, hint: string): FailureRecord => ({ summary, hint, exit: 4, retry: true });

export const failureTable = {
  'usage.unknown-command': usage('There is no command of that name.', '`!help` lists the commands, `!help search WORD` finds one.'),
  'usage.incomplete-command': usage('The command names a group, and the verb is missing.', '`!help GROUP` lists the verbs.'),
  'usage.unknown-option': usage('The command has no such option.', '`!help COMMAND` shows its options.'),
  'usage.missing-value': usage('An option or argument that needs a value has none.', '`!help COMMAND` shows what is needed.'),
  'usage.invalid-value': usage('A value is not of the form that is expected.', '`!help COMMAND` shows the form and an example.'),
  'usage.extra-argument': usage('There are more arguments than the command takes.', 'Does a value with spaces lack its quotes?'),
  'usage.repeated-option': usage('An option that takes one value was given twice.', 'Give it once.'),
  'usage.open-quote': usage('A quote is opened and never closed.', 'Close it, or put a backslash before a quote that is meant literally.'),
  'usage.smart-dash': usage('A dash that a phone made of two hyphens stands before an option.', 'Type two plain hyphens: `--option`.'),
  'usage.too-long': usage(
    'The command is longer than 4 kB.',
    'Put a long list in a code block under the command, one item a line, or in a file.',
  ),
  'usage.secret-in-command': usage(
    'The message held a password or token; it was not run.',
    'Leave the password out: Steward makes one. Rotate the one that was typed.',
  ),
  'usage.no-input': usage('The command takes no list of items.', 'Give it one target at a time.'),
  'usage.input-too-large': usage('The list of items is larger than 1 MB or 10 000 lines.', 'Split the list.'),
  'usage.input-unreadable': usage('The file with the items cannot be read.', 'Does the file exist, and may Steward read it?'),
  'usage.no-terminal': usage(
    'A question must be answered, and there is no terminal to ask on.',
    'Give `--yes`, or type the command in a terminal.',
  ),

  'config.invalid': usage('The configuration has mistakes.', '`steward config check` lists them all.'),
  'config.not-found': usage('There is no configuration file.', '`steward init` writes one; `--config FILE` names another.'),
  'config.unreadable': usage('The configuration file cannot be read.', 'May this user read it? Is it a file?'),
  'config.no-room': refused('No admin room is configured.', '`steward init` makes one.'),
  'config.no-homeserver': refused('No homeserver is configured.', '`steward init` connects one; `steward config check` shows what is set.'),

  'init.account-taken': refused(
    "The account that is meant for Steward exists and is not Steward's.",
    'Choose another name with `--bot-localpart NAME`.',
  ),
  'init.password-login-off': refused(
    'The homeserver does not let accounts log in with a password.',
    'Give `--registration-secret-file FILE`: that way needs no log-in.',
  ),
  'init.secrets-in-git': refused(
    'Secrets would lie in a git work tree that does not ignore them.',
    'Choose another folder with `--dir DIR`, or add the folder to `.gitignore`.',
  ),
  'init.not-written': failed('A file could not be written.', 'May this user write there, and is there space?', true),

  'access.no-role': refused('You have no role here.', 'Ask one of the owners to add you to `people:` in the configuration.'),
  'access.not-allowed': refused(
    'Your role does not include this command.',
    'Which roles include it? `!help COMMAND` shows its group and tier.',
  ),
  'access.rate-limited': refused(
    'You give commands faster than the limit.',
    'Wait a minute. See `limits.per_minute` in the configuration.',
  ),
  'access.needs-approval': refused('It needs an approval that was not given beforehand.', 'A person must ask for it, and be approved.'),
  'access.owner-only': refused('Only an owner may do that.', 'Owners have a role with `owner: true` in the configuration.'),
  'access.not-requester': refused('Only the person who asked can confirm.', 'Type the command yourself.'),
  'access.not-confirmed': refused('What was asked was not confirmed.', 'Run the command again and confirm it.'),
  'access.declined': refused('The requester declined.', 'Run the command again if it was a mistake.'),
  'access.expired': refused('Nobody approved it in time.', 'Run the command again.'),
  'access.role-lost': refused('A role that it needed is gone.', 'Who may ask for it or approve it now? `!me roles` shows what you may.'),
  'access.superseded': refused('The same was asked for again.', 'Look at the newer request.'),
  'access.plan-changed': refused(
    'What the command would change is no longer what was shown.',
    'Run the command again and look at the new plan.',
  ),
  'access.identity-changed': refused(
    'Your cross-signing identity is another than the one that is known.',
    'Another person confirms the new one: `server crypto confirm PERSON`.',
  ),
  'access.frozen': refused('Steward is frozen: no change begins.', '`!server status` says by whom; `!server thaw` ends it.'),
  'access.not-frozen': refused('Steward is not frozen.', '`!server status` shows how it is.'),

  'approval.own-request': refused(
    'Another person must approve what you asked for.',
    'Another account of yours is you. `!approval info ID` shows who may.',
  ),
  'approval.not-allowed': refused(
    'Your role does not include approving this.',
    '`!me roles` shows what you may; `!approval info ID` who may approve this.',
  ),
  'approval.is-target': refused(
    'It could give control of an account of yours: a third person must approve it.',
    '`!approval info ID` shows who may.',
  ),
  'approval.on-hold': refused('You may not approve for now.', '`!me roles` shows until when.'),
  'approval.must-be-typed': refused('A reaction is not enough for this.', 'Type what the prompt says.'),
  'approval.wrong-code': refused('Nothing that waits has this code, target or id.', '`!approval list` shows what waits.'),
  'approval.too-many-attempts': refused('Too many wrong codes.', 'Wait a quarter of an hour.'),
  'approval.too-many-requests': refused(
    'Too many requests of this kind wait for a code.',
    'Decide on some of them: `!approval list`, `!veto ID`.',
  ),
  'approval.untrusted-device': refused(
    'A code counts only from a verified device, encrypted.',
    'Verify this device in your client (cross-signing), and type the code again.',
  ),
  'approval.plain-room': refused(
    'The room is not encrypted: what is catastrophic cannot be approved there.',
    'In the shell: `--break-glass REASON`. See also `approval.catastrophic_in_plain_room` in the configuration.',
  ),
  'approval.nobody': refused(
    'There is nobody who may approve it.',
    'Who else has a role with `approve:`? In the shell `--break-glass REASON` runs it without.',
  ),
  'approval.no-room': refused(
    'People approve in the admin room, and Steward is not connected to it.',
    'Is the daemon running, and the homeserver up? `--break-glass REASON` runs it without an approval; it is announced.',
  ),
  'approval.shell': refused('The shell names no person, so it approves nothing.', 'Approve in the admin room.'),
  'approval.not-waiting': refused('The request waits no more.', '`!approval list` shows what waits.'),
  'approval.taken-back': refused('The message that decided was removed before it counted.', 'Decide again where it was not meant so.'),
  'approval.vetoed': refused('Somebody refused it.', 'Ask the one who refused; run the command again when you agree.'),

  'guard.self': refused('The target is the bot itself.', 'Steward never acts on its own account.'),
  'guard.requester': refused('The target is your own account.', 'Ask another admin.'),
  'guard.last-admin': refused('The target is the last active server admin.', 'Grant another account the admin flag first.'),
  'guard.appservice': refused('The account belongs to an application service.', 'Manage it through its bridge.'),
  'guard.protected': refused('The account matches a protected pattern.', 'See `guards.protected` in the configuration.'),
  'guard.identity-provider': refused(
    'Accounts are owned by Matrix Authentication Service, not by Synapse.',
    'Use `mas-cli manage register-user`; Synapse would make an account that cannot log in.',
  ),

  'user.not-found': failed('There is no such account on this homeserver.', '`!user list --name PART` finds accounts.'),
  'user.exists': refused(
    'An account of that name exists.',
    '`!user info USER` shows it; `!user reactivate` brings a deactivated one back.',
  ),
  'user.not-local': refused('The account is on another homeserver.', 'Steward acts on accounts of its own homeserver only.'),
  'user.no-rooms': refused('The account has never been in a room where it could say something.', '`!user info USER` shows it.'),
  'user.already-deactivated': refused('The account is deactivated already.', '`!user info USER` shows it.'),
  'user.not-deactivated': refused('The account is not deactivated.', '`!user update-password` sets a new password.'),
  'user.email-taken': refused('The e-mail address belongs to another account.', '`!what ADDRESS` shows whose it is.'),

  'target.not-found': failed('Nothing of that id is known to this homeserver.', 'Is the id whole, and of this homeserver?'),

  'me.nobody': refused('The shell names nobody.', 'Type it in the room: it is about the person who asks.'),
  'me.no-age-key': refused('You have no age key.', '`!me age age1…` registers one.'),

  'undo.nothing': refused('There is nothing of yours to undo.', 'Only changes with an undo line in their answer can be undone.'),

  'homeserver.unreachable': unreachable('The homeserver does not answer.', 'Is Synapse running? `!server status` shows what Steward sees.'),
  'homeserver.rate-limited': unreachable('The homeserver asks to wait.', 'Try again in a minute; is the bot exempt from rate limits?'),
  'homeserver.bad-answer': failed(
    'The homeserver answered something that is not the Admin API.',
    'Does `homeserver.admin_url` pass a proxy? It must reach Synapse itself.',
    true,
  ),
  'homeserver.refused': failed('The homeserver refused the request.', 'The reason it gave stands in the message.'),
  'homeserver.unknown-token': failed("The homeserver does not know Steward's access token.", 'Run `steward init` to make a new one.'),
  'homeserver.not-admin': failed(
    "Steward's account is not a server admin.",
    'Grant it: `UPDATE users SET admin = 1 WHERE name = …`, or run `steward init`.',
  ),
  'homeserver.no-endpoint': failed(
    'The homeserver has no such Admin API endpoint.',
    'Is Synapse too old, or does the address lead to a worker?',
  ),
  'homeserver.not-done': failed(
    'The homeserver reported success, and the change is not there.',
    'Does a proxy stand between Steward and Synapse? Look again with the `info` command.',
  ),
  'homeserver.outcome-unknown': failed(
    'The connection broke before the homeserver answered; the change may have been made.',
    'Look with the `info` command before you try again.',
  ),

  'access.identity-unchanged': refused('There is no other identity to confirm.', '`server crypto` shows how each person stands.'),
  'access.no-person': refused('There is no person of that name.', 'Names are those of `people:` in the configuration.'),

  'crypto.locked': refused(
    'The room is encrypted, and the message did not come from a device that is trusted.',
    'Verify the device in your client (its session is signed by you then), and send the command again.',
  ),
  'crypto.other-device': failed(
    'The access token is of another device than the keys in the store.',
    'Put back the token of the device that is named, or make a new device: `steward crypto reset`.',
  ),
  'crypto.no-device': failed(
    'The access token belongs to no device, and only a device can encrypt.',
    'Run `steward init` to make another.',
  ),
  'crypto.unreadable': failed('The keys in the store cannot be read.', 'Restore the store, or make a new device: `steward crypto reset`.'),
  'crypto.no-recovery': failed(
    "Steward's account has a cross-signing identity whose recovery material is not here.",
    'Put the file back, from a copy of `data_dir` or of its secrets. Is it lost? `steward crypto reset --new-identity`.',
  ),
  'crypto.wrong-recovery': failed(
    "The recovery material is not that of Steward's identity.",
    'Put the right file back, from a copy of `data_dir` or of its secrets. Is it lost? `steward crypto reset --new-identity`.',
  ),

  'job.not-found': failed('There is no such job.', '`!job list` shows the newest.'),
  'job.ended': refused('The job has ended.', '`!job info JOB` shows how; `!undo` takes your last change back.'),
  'job.cancelled': refused('It was cancelled before it was done.', '`!job info JOB` shows what was done.'),
  'job.locked': refused('Another job has to end first.', '`!job info JOB` shows it; `!job cancel JOB` stops it after its step.'),
  'job.interrupted': failed('Steward stopped while the command ran; the change was not made.', 'Run the command again.', true),
  'job.unknown': failed(
    'Steward stopped while the command ran, and cannot tell whether the change was made.',
    'Look with the `info` command before you try again.',
  ),

  'stack.not-configured': refused(
    'Steward is not told where the homeserver runs.',
    'Name the files that Synapse is given by `-c` in `stack.homeserver_config`.',
  ),
  'stack.config-unreadable': failed(
    "The homeserver's configuration cannot be read.",
    'May Steward read it? Is `stack.homeserver_config` what Synapse is given by `-c`?',
  ),
  'stack.file-unreadable': failed(
    'A file of the homeserver cannot be read.',
    '`!server config` shows what Steward may not read, and the line that grants it.',
  ),
  'stack.database-unreachable': unreachable(
    "The homeserver's database does not answer.",
    'Is it running, and may this role connect? `!server config` shows where it is.',
  ),
  'stack.not-granted': failed("Steward's role may not read the database.", '`!server config` shows the GRANT that is missing.'),
  'stack.no-schema': failed(
    "The database has no tables of Synapse that Steward's role can see.",
    'Was Synapse started on it before? Else `!server config` shows the GRANT that is missing.',
  ),
  'stack.no-program': failed('A program that is needed is not on this machine.', 'Install it, or name its folder in the configuration.'),
  'stack.no-isolation': refused(
    'This machine gives a process no network of its own.',
    'Let Steward use `unshare --net` (in a container: CAP_SYS_ADMIN; else `sysctl kernel.unprivileged_userns_clone=1`), or run the drill elsewhere. `backup verify latest --level 4` needs none.',
  ),
  'stack.no-component': refused('There is no such component.', 'See `stack.components` in the configuration.'),
  'stack.no-control': refused(
    'Steward is not told how to control the component.',
    'Name its systemd unit or its commands in `stack.components`.',
  ),
  'stack.command-failed': failed(
    'A command of the host failed.',
    'What it said stands in the message; `!server logs` may tell more.',
    true,
  ),
  'stack.not-running': failed('The component does not run.', '`!server logs` shows the end of its log.'),
  'stack.scratch-failed': failed('No database could be made to try a backup in.', 'Is there space in `stack.scratch_dir`?', true),

  'backup.not-configured': refused(
    'No place for backups is configured.',
    'Name one in `backup.destinations`, and who can open it in `backup.keys`.',
  ),
  'backup.no-recipient': refused(
    'Nobody could open the backup.',
    'Make a key with `age-keygen -o my.key`, keep it off this machine, and put its `age1…` into `backup.keys.recipients`.',
  ),
  'backup.unknown-destination': refused('There is no such destination.', 'See `backup.destinations` in the configuration.'),
  'backup.not-found': failed('There is no such backup.', '`!backup list` shows them.'),
  'backup.exists': refused(
    'The destination has the backup already.',
    '`!backup info BACKUP` shows where it is; `!backup scan` looks again.',
  ),
  'backup.destination-full': failed(
    'The place for backups is full.',
    'Make space there, or name another place. Nothing of this backup was left.',
    true,
  ),
  'backup.object-too-large': failed(
    'What is to be stored is larger than the place takes as one object.',
    'A database of that size is for pgBackRest or Barman (`backup.database`); a folder among `backup.destinations` takes a dump of any size.',
  ),
  'backup.destination-failed': failed('The place for backups cannot be used.', 'Is it mounted, and may Steward write there?', true),
  'backup.destination-empty': failed(
    'The backups that a place held are not there any more.',
    'Is its disk mounted? Where they were removed, or the place is another one now, `!backup scan` makes the catalogue anew.',
    true,
  ),
  'backup.source-failed': failed(
    'A part of the homeserver could not be copied whole, so there is no backup.',
    'What the program said stands in the message. Nothing of this backup was left.',
    true,
  ),
  'backup.missing': failed('An object of a backup is not where it was put.', 'Was it removed? Make a new backup: `!backup create`.'),
  'backup.damaged': failed(
    'A backup is not what was stored.',
    'Do not restore from it. Make a new one: `!backup create`; look at the disk.',
  ),
  'backup.foreign': failed(
    'The backup was made by another Steward.',
    'Its signature cannot be checked here; its objects can: docs/restore-by-hand.md.',
  ),
  'backup.not-proven': failed(
    'The backup was made, and does not hold what the database held.',
    'Keep an older one. The reason stands in the message; it may be a fault of Steward or of the disk.',
  ),
  'backup.not-everywhere': failed(
    'The backup is not in every destination that it was made for.',
    'It can be restored from where it is. What each destination said stands in the message.',
  ),
  'backup.no-key': refused(
    'Steward has no key that opens the backup.',
    'An admin opens it: `!backup unlock` in the room, `--identity-file my.key` in the shell, or by hand (docs/restore-by-hand.md).',
  ),
  'backup.nothing-to-unlock': refused('No job waits for keys of backups.', '`!backup keys` shows what waits. It ends with its job.'),
  'backup.wrong-unlock': refused(
    'What was sent does not open the keys that are asked for.',
    'Run the lines that the request shows once more, and send all that they print. `!backup keys` shows them again.',
  ),
  'backup.engine-failed': failed(
    'The engine that guards the database did not do what was asked of it.',
    'What it said stands in the message. Does `backup.database.command` run by itself, as the user that Steward is?',
    true,
  ),
  'backup.wrong-code': refused(
    'No challenge has this code.',
    '`!backup keys` shows the challenges; `age -d -i my.key` prints the code of yours.',
  ),
  'backup.no-change': refused(
    'Backups are sealed to the recipients of the configuration already.',
    '`!backup keys` shows them. After a change of `backup.keys`, `!server reload`.',
  ),
  'backup.nothing-to-reseal': refused(
    'The keys of earlier months are sealed to those who can open backups now already.',
    '`!backup keys` shows to whom each is sealed.',
  ),
  'backup.unreadable': failed('A copy cannot be read to its end.', 'Use another backup; `!backup list` shows which are proven.'),

  'restore.not-found': failed('There is no such restore.', '`!restore list` shows them; `!restore prepare latest` begins one.'),
  'restore.refused': refused(
    'The backup cannot be restored here.',
    'The reason stands in the message; nothing was touched. Is another backup meant? `!backup list`.',
  ),
  'restore.state': refused('The restore is not at the step for this.', '`!restore list` shows what can be done next.'),
  'restore.no-control': refused(
    'Steward cannot stop and start the homeserver.',
    'Name all that uses its database in `stack.components`, with `unit`, or with `status`, `stop` and `start`.',
  ),
  'restore.no-space': failed('There is too little space for a restore.', 'Make space there. The live server was not touched.', true),
  'restore.unsafe-name': failed(
    'A backup holds what is no file at a place of its own.',
    'Nothing of it was put in place. Who could write to the destination? Use another backup.',
  ),
  'restore.unsafe-dump': failed(
    'A dump holds what pg_dump does not write.',
    'Nothing of it was run. Who could write to its folder? Use another backup.',
  ),
  'restore.different': failed(
    'What was loaded is not what the backup was proven to hold.',
    'The live server was not touched. Use another backup; look at the disk of the destination.',
  ),
  'restore.failed': failed('A step of the restore failed.', 'What the database said stands in the message.', true),
  'restore.sessions': failed(
    'Sessions on the database could not be ended.',
    'Which program holds them? `SELECT * FROM pg_stat_activity` shows it; stop it and try again.',
    true,
  ),
  'restore.rolled-back': failed(
    'The homeserver did not come up on the restored data; what was live before, if anything was, is in place again.',
    'The reason stands in the message, and the log of Synapse says more: `!server logs`. The restore is still prepared.',
  ),
  'restore.not-attached': failed(
    'The homeserver is well on its restored data, and Steward has no token there.',
    '`steward init` with `--admin-token-file` or `--registration-secret-file` makes one; then `steward server reload`.',
  ),
  'restore.stuck': failed(
    'The homeserver is between the old data and the restored ones.',
    'Mend what the message names, then `!restore undo` in the shell; Steward tries again by itself at each start.',
    true,
  ),

  'schedule.not-found': failed('There is no schedule of that name.', '`!schedule list` shows them all.'),
  'schedule.exists': refused('A schedule of that name exists.', '`!schedule list` shows it; choose another name, or remove it first.'),
  'schedule.never': usage('The schedule would never be due.', 'Which day is meant? Date and day of the week must both fit.'),
  'schedule.not-schedulable': refused(
    'The command cannot run in a schedule.',
    'Reads and changes can, and what is destructive once it is approved; nothing that needs somebody to answer while it runs.',
  ),
  'schedule.paused': refused('The schedule is paused.', '`!schedule resume NAME` lets it run again.'),
  'schedule.not-paused': refused('The schedule is not paused.', '`!schedule list` shows when it runs next.'),
  'schedule.running': refused('A run of the schedule is still going.', 'Its result comes as a message of its own.'),
  'schedule.role-gone': refused(
    'The person who made the schedule may not run its command any more.',
    'Give the role back and resume it, or remove it and make your own.',
  ),
  'schedule.missed': failed('The run was due while Steward was not running.', '`!schedule run NAME` runs it now.'),
  'schedule.no-daemon': refused('Schedules run in the daemon, and none runs here.', 'Start it with `steward run`.'),

  'secret.not-stored': failed(
    'The secret could not be stored, so nothing was changed.',
    'Is the folder of `secrets.file.dir` writable, and has it space?',
    true,
  ),

  'store.locked': refused('Another Steward uses this store.', 'Is a daemon running? Only one may own the store.'),
  'store.superseded': refused(
    'A copy of this store has taken over, so this Steward changes nothing.',
    'Stop one of the two. To go on with this one: `steward run --take-over`.',
  ),
  'store.newer': refused(
    'The store was written by a newer version of Steward.',
    'Install the version that is named, or restore the copy beside the store.',
  ),
  'store.unwritable': failed('The store cannot be written.', 'Is the disk full, or the file read-only?', true),
  'store.unreadable': failed('The store cannot be read.', 'Restore the copy beside it, or move it away to start with an empty one.'),

  'audit.unwritable': failed(
    'The audit cannot be written, so nothing was done.',
    'Is the disk full, or the folder `audit` of `data_dir` read-only?',
    true,
  ),

  'audit.broken': failed(
    'The audit is not what was written.',
    'Who may write to `data_dir`? Compare with a backup and with the heads that were posted in the room.',
  ),

  'room.not-removed': failed(
    'A message with a secret could not be removed: Steward may not remove messages of others here.',
    'Remove it yourself and rotate what it held; give Steward the power level that `redact` asks for (50).',
  ),
  'room.locked': refused(
    'Steward is locked down: it only reads.',
    '`!server room check` shows why; an owner ends it with `!server room ack`.',
  ),
  'room.not-locked': refused('There is no lock-down.', '`!server room check` shows how the room is.'),
  'room.replaced': refused(
    'The admin room was replaced.',
    '`!server room move` makes a new one; in the shell where nobody can type in the old one.',
  ),
  'room.nothing-to-mend': refused('The room is as it should be.', '`!server room check` shows how it is.'),
  'room.no-file': failed(
    'The file for the room could not be written.',
    'Is the disk full, or the folder `exports` of `data_dir` read-only?',
    true,
  ),

  'http.not-listening': failed(
    'The address for health and metrics cannot be bound.',
    'Does another process use it? See `http.listen` in the configuration.',
  ),

  'alert.not-delivered': unreachable(
    'An alert channel did not take the alert.',
    'Does its address still exist? See `alerts:` in the configuration.',
  ),

  'internal.bug': failed('Something in Steward is broken.', 'Please report it with the error id; the log has the details.'),
} as const satisfies Record<string, FailureRecord>;

export type FailureId = keyof typeof failureTable;

/** The record of an id that a person typed, or undefined. */
export function findFailure(id: string): FailureRecord | undefined {
  return Object.hasOwn(failureTable, id) ? failureTable[id as FailureId] : undefined;
}
