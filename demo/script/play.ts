import { setTimeout as sleep } from 'node:timers/promises';
import { Answers } from './answers.ts';
import type { Stage } from './stage.ts';
import type { Expectation, Program, Statement } from './statement.ts';
import { Unexpected } from './unexpected.ts';
import { until } from './until.ts';
import { Variables } from './variables.ts';
import { Voices } from './voices.ts';

/** What must never come may still come for so long after the last line. */
const aftermath = 1000;

/** Plays statements one by one. What one has found out (groups, who said what last) is there for the next. */
export class Player {
  readonly #stage: Stage;
  readonly #answers: Answers;
  readonly #variables: Variables;
  readonly #voices: Voices;
  readonly #forbidden: { statement: Statement; pattern: RegExp; from: number }[] = [];
  /** Answers before this one have been passed. */
  #position = 0;
  #begun = false;

  constructor(stage: Stage) {
    this.#stage = stage;
    this.#answers = new Answers(stage);
    this.#variables = new Variables(stage.environment);
    this.#voices = new Voices(stage, this.#answers, this.#variables);
  }

  /** Throws Unexpected when the line does not come true. @returns what a program has printed, else null */
  async perform(statement: Statement): Promise<string | null> {
    this.#begin(statement);
    try {
      if (isProgram(statement)) return await this.#run(statement);
      await this.#perform(statement);
      return null;
    } catch (error) {
      throw error instanceof Unexpected ? error : new Unexpected(statement, (error as Error).message);
    } finally {
      this.#assertNothingForbidden();
    }
  }

  /** The end of the script. Throws Unexpected when something has come that must not. */
  async finish(): Promise<void> {
    if (this.#forbidden.length > 0) await sleep(aftermath);
    await this.#stage.room.complete();
    this.#assertNothingForbidden();
  }

  /** Waits until the last command has its answer, at most `ms`. */
  answered(ms: number): Promise<void> {
    return this.#voices.answered(ms);
  }

  /** What was said before the script did anything is only for lines that expect it first: the greeting. */
  #begin({ kind }: Statement): void {
    if (this.#begun || kind === 'expect' || kind === 'never') return;
    this.#begun = true;
    this.#position = this.#answers.list.length;
  }

  async #perform(statement: Exclude<Statement, Program>): Promise<void> {
    switch (statement.kind) {
      case 'expect':
        return this.#expect(statement);
      case 'never':
        this.#forbidden.push({ statement, pattern: this.#variables.compile(statement.pattern), from: this.#answers.list.length });
        return;
      case 'wait':
        await sleep(statement.ms);
        return;
      case 'stop':
      case 'kill':
      case 'start':
        return this.#stage.steward[statement.kind]();
      case 'react':
      case 'unreact':
        return this.#voices.react(statement);
      case 'say':
      case 'edit':
      case 'reply':
      case 'file':
        return this.#voices.speak(statement);
    }
  }

  async #expect(statement: Statement & Expectation): Promise<void> {
    const pattern = this.#variables.compile(statement.pattern);
    const found = await until(() => {
      const at = this.#answers.list.findIndex(({ text }, index) => index >= this.#position && pattern.test(text));
      return at === -1 ? null : { at, groups: pattern.exec(this.#answers.list[at]?.text ?? '')?.groups ?? {} };
    }, statement.withinMs);
    if (found === null)
      throw new Unexpected(
        statement,
        `expected an answer of Steward that matches ${String(pattern)} within ${statement.withinMs / 1000} s; ${this.#whatCame()}`,
      );
    this.#variables.learn(found.groups);
    this.#position = found.at + 1;
  }

  #whatCame(): string {
    const came = this.#answers.list.slice(this.#position).map(({ text }) => indented(text));
    return came.length === 0 ? 'none came' : `what came was\n${came.join('\n    ---\n')}`;
  }

  async #run(statement: Statement & Program): Promise<string> {
    const isShell = statement.kind === 'shell';
    const command = this.#variables.fill(isShell ? `steward ${statement.command.replace(/^steward\s+/u, '')}` : statement.command);
    const { exit, output } = await this.#stage.run(command, this.#variables.fill(statement.input));
    if (isShell) this.#answers.addOutput(output);
    if (exit !== statement.exit)
      throw new Unexpected(
        statement,
        `expected exit code ${statement.exit}; found ${exit} and the output\n${indented(output.trim().split('\n').slice(-20).join('\n'))}`,
      );
    return `$ ${command}\n${output}`;
  }

  #assertNothingForbidden(): void {
    for (const { statement, pattern, from } of this.#forbidden) {
      const found = this.#answers.list.slice(from).find(({ text }) => pattern.test(text));
      if (found !== undefined)
        throw new Unexpected(statement, `expected nothing that matches ${String(pattern)}; found\n${indented(found.text)}`);
    }
  }
}

function isProgram(statement: Statement): statement is Statement & Program {
  return statement.kind === 'shell' || statement.kind === 'run';
}

function indented(text: string): string {
  return `    ${text.split('\n').join('\n    ')}`;
}
