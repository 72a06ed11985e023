import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { readProject } from '../../control/compose/read-project.ts';
import { conflict, DeckError, unavailable } from '../../control/error.ts';
import { ensureFolder, type RuntimePaths } from '../../control/paths.ts';
import { newSandboxId, SANDBOX_VARIABLE } from '../../control/sandbox.ts';
import { formatUplinkSpec } from '../../control/uplink-spec.ts';
import { awaitEnd, MAIN, reachDaemon } from '../embedded.ts';
import { EXIT_DONE, say, style } from '../output.ts';
import { type UplinkFlags, uplinkOptions } from '../uplink-options.ts';
import { cleanUpAfter } from './down.ts';
import { digestOf, isHeld, labPaths, makeLabFolder, readLab } from './lab-files.ts';
import { checkProgram } from './lab-service.ts';
import { lastLines } from './log-file.ts';
import type { Assignment, SupervisorMessage } from './supervisor.ts';

export interface LabFlags extends UplinkFlags {
  projectName?: string;
}

/** Brings a lab up, and leaves it to its supervisor. */
export async function up(
  paths: RuntimePaths,
  host: string | undefined,
  file: string | undefined,
  flags: LabFlags,
): Promise<number> {
  const project = readProject({ file, name: flags.projectName });
  for (const warning of project.warnings) say(`${style('yellow', 'warning', process.stderr)}: ${warning}`);
  const files = labPaths(paths, project.name);
  const there = readLab(files);
  if (there && isHeld(there)) {
    if (there.state === 'up' && there.digest === digestOf(project)) {
      for (const { container, state } of there.services) line('Container', container, state);
      return EXIT_DONE;
    }
    const remedy = `end it with "tapdeck lab down -p ${project.name}", or give this one another name with -p`;
    throw conflict(
      there.state === 'up'
        ? `lab ${project.name} is up as another file or an earlier state of it says (${there.file}); ${remedy}`
        : `lab ${project.name} is just coming up or going down; ${remedy}`,
    );
  }
  for (const service of project.services) checkProgram(service);
  const uplinks = uplinkOptions(flags);
  const id = newSandboxId();
  ensureFolder(paths);
  makeLabFolder(files);
  // Beside the supervisor, which needs as long to come up; what is wrong with it the supervisor finds out as well.
  const daemon = reachDaemon(paths, host, id, uplinks ? { uplinks } : {}).catch(() => undefined);
  const assignment = { project, id, ...(uplinks && { uplinks: uplinks.map(formatUplinkSpec) }) };
  try {
    await startSupervisor(files.supervisorLog, host, assignment);
  } catch (error) {
    // It may have come up when the supervisor was gone already.
    const reached = await daemon;
    const closed = await reached?.client.closeSandbox(id).catch(() => undefined);
    if (reached && (closed === undefined || closed.ending)) await awaitEnd(paths, reached, id);
    await cleanUpAfter(paths, host, files, id).catch((left: Error) => say(left.message));
    throw error;
  }
  return EXIT_DONE;
}

/** Starts it and follows what it says until the lab is up. Throws a `DeckError` when it is not, and nothing of it is left. */
async function startSupervisor(
  logFile: string,
  host: string | undefined,
  assignment: Assignment,
): Promise<void> {
  const log = openSync(logFile, 'a', 0o600);
  const { [SANDBOX_VARIABLE]: _, ...env } = process.env;
  const child = spawn(
    process.execPath,
    [MAIN, ...(host === undefined ? [] : ['--host', host]), 'lab', 'supervise'],
    // A session of its own: ctrl-C here ends it by our own word.
    // JSON would make null of the number of times that a service is begun again without a limit.
    { stdio: ['ignore', log, log, 'ipc'], serialization: 'advanced', detached: true, cwd: '/', env },
  );
  closeSync(log);
  const interrupt = () => void child.kill('SIGTERM');
  for (const signal of INTERRUPTS) process.on(signal, interrupt);
  try {
    await new Promise<void>((resolve, reject) => {
      let failure: DeckError | undefined;
      child.on('message', (message: SupervisorMessage) => {
        if (message.kind === 'progress') line(message.what, message.name, message.state);
        else if (message.kind === 'up') resolve();
        else failure = new DeckError(message.code, message.message, { detail: message.detail });
      });
      child.once('error', (error) => reject(unavailable(`cannot start a supervisor: ${error.message}`)));
      child.once('exit', (code, signal) => {
        const how = signal ?? `code ${code}`;
        const detail = failure ? [] : lastOf(logFile);
        const silent = detail.length === 0 ? '' : '; it said last:';
        const what = `the supervisor ended (${how}) before the lab was up${silent}`;
        reject(failure ?? new DeckError('unavailable', what, { detail }));
      });
      child.send(assignment);
    });
  } finally {
    for (const signal of INTERRUPTS) process.off(signal, interrupt);
    child.unref();
    if (child.connected) child.disconnect();
  }
}

const INTERRUPTS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** The last lines of the supervisor's log. */
function lastOf(file: string): string[] {
  try {
    return lastLines(
      readFileSync(file, 'utf8')
        .trimEnd()
        .split('\n')
        .filter((line) => line !== ''),
    );
  } catch {
    // It has removed it.
    return [];
  }
}

/** As Compose says what it does. */
function line(what: string, name: string, state: string): void {
  process.stderr.write(` ${what} ${name}  ${style('green', state, process.stderr)}\n`);
}
