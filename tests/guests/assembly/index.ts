// A guest of the pointer-payload ABI in AssemblyScript: it tells what it got of a request, counts visits in the session,
// keeps things in a store, and echoes on a WebSocket.

import { Fields, Reader, Request, Writer } from "./payload";

@external("primate", "payloadByteLength") declare function payloadByteLength(): u32;
@external("primate", "receive") declare function receive(pointer: usize, length: u32): void;
@external("primate", "send") declare function send(pointer: usize, length: u32): void;
@external("primate", "websocketSend") declare function websocketSend(): void;
@external("primate", "sessionNew") declare function sessionNew(): void;
@external("primate", "sessionGet") declare function sessionGet(): void;
@external("primate", "sessionExists") declare function sessionExists(): u32;
@external("primate", "sessionSet") declare function sessionSet(): void;
@external("primate", "storeImport") declare function storeImport(): u32;
@external("primate", "storeInsert") declare function storeInsert(store: u32): u32;
@external("primate", "storeFind") declare function storeFind(store: u32): u32;

let nextId: u64 = 0;

function payload(): ArrayBuffer {
  const bytes = new ArrayBuffer(payloadByteLength());
  receive(changetype<usize>(bytes), bytes.byteLength);
  return bytes;
}

function sendAll(bytes: ArrayBuffer): void {
  send(changetype<usize>(bytes), bytes.byteLength);
}

// What the host holds by its pointer must stay where it is, until the host hands it back.
export function newRequest(): usize {
  return __pin(changetype<usize>(Request.decode(payload())));
}

export function finalizeRequest(request: usize): void {
  __unpin(request);
}

export function sendResponse(response: usize): void {
  sendAll(changetype<ArrayBuffer>(response));
}

export function finalizeResponse(response: usize): void {
  __unpin(response);
}

export function get(request: usize): usize {
  return answer("GET", changetype<Request>(request));
}

export function post(request: usize): usize {
  return answer("POST", changetype<Request>(request));
}

function answer(method: string, request: Request): usize {
  const path = request.path();
  let response: ArrayBuffer;
  if (path == "/socket") response = new Writer().number(7).long(nextId++).bytes();
  else if (path == "/store") response = json(keep(request.query));
  else response = json(told(method, request));
  return __pin(changetype<usize>(response));
}

function json(text: string): ArrayBuffer {
  return new Writer().number(1).text(text).bytes();
}

function told(method: string, request: Request): string {
  return `{"method":${quoted(method)},"url":${quoted(request.url)},"body":${quoted(request.body)},`
    + `"query":${object(request.query)},"headers":${object(request.headers)},"visits":${visit()}}`;
}

// Counts a visit in the session, the first of which begins it.
function visit(): i32 {
  if (!sessionExists()) {
    sendAll(new Writer().text('{"visits":1}').bytes());
    sessionNew();
    return 1;
  }
  sessionGet();
  const session = new Reader(payload());
  assert(session.number() == 1);
  session.text(); // its id
  const data = session.text();
  const visits = I32.parseInt(data.substring(data.indexOf(":") + 1)) + 1;
  sendAll(new Writer().text(`{"visits":${visits}}`).bytes());
  sessionSet();
  return visits;
}

// Inserts these fields into a store, and gives all that is like them.
function keep(fields: Fields): string {
  sendAll(new Writer().text("things").bytes());
  assert(storeImport() == 0);
  const store = new Reader(payload()).number();
  const document = new Writer().text(object(fields)).bytes();
  sendAll(document);
  assert(storeInsert(store) == 0);
  sendAll(document);
  assert(storeFind(store) == 0);
  return new Reader(payload()).text();
}

export function websocketOpen(): void {}

// A message that comes has the form of one that goes.
export function websocketMessage(): void {
  sendAll(payload());
  websocketSend();
}

export function websocketClose(): void {}

function object(fields: Fields): string {
  const members = new Array<string>();
  for (let at = 0; at < fields.length; at += 2) members.push(`${quoted(fields[at])}:${quoted(fields[at + 1])}`);
  return `{${members.join(",")}}`;
}

function quoted(text: string): string {
  let quoted = "";
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit == 0x22 || unit == 0x5c) quoted += "\\" + text.charAt(at);
    else if (unit < 0x20) quoted += "\\u" + unit.toString(16).padStart(4, "0");
    else quoted += text.charAt(at);
  }
  return `"${quoted}"`;
}
