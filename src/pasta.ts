#!/usr/bin/env node
import { pasta } from './integrations/pasta/program.ts';

process.exit(await pasta(process.argv.slice(2), process.env, import.meta.url));
