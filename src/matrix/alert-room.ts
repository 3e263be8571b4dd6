import type { Alerts } from '../alerts/alerts.ts';
import type { AlertMessage, Told } from '../alerts/message.ts';
import type { Requester } from '../commands/context.ts';
import { whomToAsk } from '../commands/dispatch.ts';
import { mayRequest, operatorAccounts, owners, personOf } from '../workflow/roles.ts';
import type { Config } from '../config/schema.ts';
import { Failure } from '../failures/failure.ts';
import { text, type Part } from '../reply/parts.ts';
import { failureReply, hintLine, type Reply } from '../reply/reply.ts';
import type { LockDown } from '../room/lock-down.ts';
import type { Button } from './room.ts';

/** Reactions on a message about alerts. */
const mine = '🙋';
const mute = '🔕';

/** The message in the room, which pings every operator; one that only says that something is over pings nobody. */
export function alertReply(message: AlertMessage, config: Config): Reply {
  return {
    command: null,
    outcome: isOver(message) ? 'done' : 'failed',
    errorId: isOver(message) ? undefined : message.told.find((each) => !each.isOver)?.id,
    parts: message.told.flatMap(partsOf),
    mentions: isOver(message) ? [] : operatorAccounts(config),
  };
}

/** The reactions that Steward puts under it. */
export function alertKeys(message: AlertMessage): string[] {
  return isOver(message) ? [] : [mine, mute];
}

/** 🙋 takes an alert, 🔕 mutes it for four hours; who may, is who may ask for a change of the group `server`. */
export function alertButton(alerts: Alerts, config: () => Config, lockDown: LockDown): Button {
  return ({ post, key, userId, isLate }) => {
    if (key !== mine && key !== mute) return null;
    const attempted = key === mine ? 'take an alert' : 'mute an alert';
    const person = personOf(config(), userId);
    if (person === null) return failureReply(new Failure('access.no-role', { attempted, hint: whomToAsk(config()) }), null);
    const requester: Requester = { kind: 'person', person, userId };
    if (!mayRequest(config(), requester, 'server', 'change'))
      return failureReply(
        new Failure('access.not-allowed', { attempted, reason: 'your role does not include changes of the group `server`' }),
        null,
      );
    const [locked] = lockDown.reasons;
    // Nobody makes the alert quiet that tells of themselves.
    if (locked !== undefined && !owners(config()).includes(person))
      return failureReply(new Failure('room.locked', { attempted, reason: `Steward is locked: ${locked.detail}` }), null);
    if (isLate) return say('Your reaction came while I was away. React again if it is still wanted.');
    if (key === mine) {
      const taken = alerts.own(post.ref, person);
      return taken.length === 0 ? say('Nothing of this stands any more.') : say(`${person} has it: ${namesOf(taken)}.`);
    }
    const muted = alerts.mute(post.ref);
    return muted.alerts.length === 0
      ? say('Nothing of this stands any more.')
      : { ...say(''), parts: [text(`Muted by ${person} until `, { time: muted.until }, `: ${namesOf(muted.alerts)}.`)] };
  };
}

function partsOf({ id, severity, title, detail, next, page, isOver: over }: Told): Part[] {
  if (over) return [text('🟢 ', { strong: 'over:' }, ` ${title} (${id})`)];
  return [
    text(severity === 'critical' ? '🔴 ' : '🟠 ', { strong: title }, `: ${detail} (${id})`),
    text({ strong: 'next:' }, ' ', ...hintLine(next)),
    text({ strong: 'page:' }, ` ${page}`),
  ];
}

const isOver = (message: AlertMessage): boolean => message.told.every((told) => told.isOver);
const namesOf = (rows: readonly { id: string }[]): string => [...new Set(rows.map(({ id }) => id))].join(', ');
const say = (line: string): Reply => ({ command: null, outcome: 'done', parts: [text(line)] });
