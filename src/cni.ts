#!/usr/bin/env node
import { answerCni } from './integrations/cni/plugin.ts';
import { reachDaemon } from './integrations/daemon.ts';
import { answerAndEnd } from './integrations/executable.ts';

await answerAndEnd((input) => answerCni({ env: process.env, input, reach: reachDaemon(process.env) }));
