/**
 * How the JavaScript engine is to compile the packet path. The way of a frame is many small functions, one per thing that is
 * done to it; V8 inlines them until a fixed amount of bytecode is reached (920 bytes in all), which is about half of the
 * way, and calls the rest. With room for all of it a bridged frame takes 65 ns where it took 77, a translated one 215
 * where it took 280 (`npm run bench:micro`). The flags are the process's: import this before anything is compiled.
 */
import { setFlagsFromString } from 'node:v8';

setFlagsFromString('--max-inlined-bytecode-size-cumulative=4000');
setFlagsFromString('--max-inlined-bytecode-size=1000');
