#!/usr/bin/env node
import { slirp4netns } from './integrations/slirp4netns/program.ts';

// What may be under way still, as a question to a daemon that has gone, is of no interest.
process.exit(await slirp4netns(process.argv.slice(2), process.env));
