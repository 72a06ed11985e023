export { FrameRing } from '../../switch/frame-ring.ts';
