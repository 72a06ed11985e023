export { type Device, Transmit } from '../../switch/device.ts';
