import type { Audit, AuditActor } from './audit.ts';

/**
 * How often each person read what. A read changes nothing, so that one record an hour tells of all of them; what was
 * counted since the last record is lost in a crash.
 */
export class ReadCounts {
  readonly #counts = new Map<string, { actor: AuditActor; commands: Map<string, number> }>();

  count(actor: AuditActor, command: string): void {
    const key = JSON.stringify(actor);
    const known = this.#counts.get(key) ?? { actor, commands: new Map<string, number>() };
    known.commands.set(command, (known.commands.get(command) ?? 0) + 1);
    this.#counts.set(key, known);
  }

  /** One record a person, and the counts begin anew. */
  record(audit: Audit): void {
    for (const [key, { actor, commands }] of this.#counts) {
      audit.record({ event: 'access.reads', actor, detail: Object.fromEntries(commands) });
      this.#counts.delete(key);
    }
  }
}
