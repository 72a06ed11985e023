export { DROP_TEXT, type DropReasonName } from '../../switch/drop-text.ts';
