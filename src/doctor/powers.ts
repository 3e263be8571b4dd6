import type { Capability, CapabilityName } from '../stack/stack.ts';
import { warn, type Finding } from './line.ts';

/**
 * What was found, and what Steward may not do for it on the host, with the lines that grant that. What is worse goes first.
 *
 * @param needs the capabilities that the finding is about
 */
export function withPowers(found: Finding, capabilities: readonly Capability[], needs: readonly CapabilityName[]): Finding {
  const lacking = capabilities.filter(({ name, granted }) => needs.includes(name) && !granted);
  if (found.state !== 'ok' || lacking.length === 0) return found;
  const without = lacking.map(({ name, missing }) => `for ${name}: ${missing.join(', ')}`).join('; ');
  const grants = lacking.flatMap(({ grant }) => grant.map((line) => `\`${line}\``)).join(' ');
  // What cannot be reached is no matter of rights.
  return warn(`${found.detail}; ${without}`, grants === '' ? 'Is it running and there? `!server config` shows where it is.' : grants);
}
