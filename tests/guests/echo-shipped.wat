;; An echo in the shipped dialect of the pointer-payload ABI. A GET of anything becomes a WebSocket; a message is
;; sent back as it came, but for the text `close`, upon which the socket is closed.
(module
  (import "primate" "payloadByteLength" (func $payload_byte_length (result i32)))
  (import "primate" "receive" (func $receive (param $pointer i32) (param $length i32)))
  (import "primate" "send" (func $send (param $pointer i32) (param $length i32)))
  (import "primate" "websocketSend" (func $websocket_send))
  (import "primate" "websocketClose" (func $websocket_close))

  ;; From 0 the response, which is the u32 7 and the socket's u64; from 32 the payload of the message at hand:
  ;; its socket's u64, a u32 that is 0 for text and 1 for bytes, the data's length in a u32, the data.
  (memory (export "memory") 1)
  (data (i32.const 0) "\07\00\00\00")
  (global $payload i32 (i32.const 32))
  (global $next_id (mut i64) (i64.const 0))

  ;; Nothing of a request matters, so none is read, and there is nothing to free of it.
  (func (export "newRequest") (result i32) (i32.const 0))
  (func (export "finalizeRequest") (param $request i32))

  (func (export "get") (param $request i32) (result i32)
    (i64.store offset=4 align=4 (i32.const 0) (global.get $next_id))
    (global.set $next_id (i64.add (global.get $next_id) (i64.const 1)))
    (i32.const 0))
  (func (export "sendResponse") (param $response i32) (call $send (local.get $response) (i32.const 12)))
  (func (export "finalizeResponse") (param $response i32))

  ;; Whoever opens or closes a socket, an echo has nothing to say to that.
  (func (export "websocketOpen"))
  (func (export "websocketClose"))

  (func (export "websocketMessage")
    (local $length i32)
    (call $hold (local.tee $length (call $payload_byte_length)))
    (call $receive (global.get $payload) (local.get $length))
    (if (call $is_close (local.get $length))
      (then
        ;; A close is the socket's number, which a message begins with.
        (call $send (global.get $payload) (i32.const 8))
        (call $websocket_close))
      (else
        (call $send (global.get $payload) (local.get $length))
        (call $websocket_send))))

  ;; Has the memory hold a payload of this length, which every shorter one then finds there.
  (func $hold (param $length i32)
    (local $missing i32)
    (local.set $missing
      (i32.sub
        (i32.shr_u
          (i32.add (i32.add (global.get $payload) (local.get $length)) (i32.const 0xffff))
          (i32.const 16))
        (memory.size)))
    (if (i32.gt_s (local.get $missing) (i32.const 0))
      (then
        (if (i32.eq (memory.grow (local.get $missing)) (i32.const -1))
          (then unreachable)))))

  ;; Whether the payload, which has this length, is the text `close`.
  (func $is_close (param $length i32) (result i32)
    (if (i32.ne (local.get $length) (i32.const 21)) (then (return (i32.const 0))))
    (i32.and
      (i32.eqz (i32.load offset=8 (global.get $payload)))
      (i32.and
        (i32.eq (i32.load offset=16 (global.get $payload)) (i32.const 0x736f6c63)) ;; clos
        (i32.eq (i32.load8_u offset=20 (global.get $payload)) (i32.const 0x65))))) ;; e
)
