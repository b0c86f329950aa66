;; An echo in the proposal dialect of the pointer-payload ABI, the proposal alone: the host upgrades every request
;; itself, and numbers the sockets. A message is sent back as it came, but for the text `close`, upon which the
;; socket is closed.
(module
  (import "env" "payloadByteLength" (func $payload_byte_length (result i32)))
  (import "env" "receive" (func $receive (param $pointer i32) (param $length i32)))
  (import "env" "websocketSend" (func $websocket_send (param $message i32)))
  (import "env" "websocketClose" (func $websocket_close (param $id i32)))

  ;; From 0 the payload of the message at hand: its socket's u64, a u32 that is 0 for bytes and 1 for text, the
  ;; data's length in a u32, the data.
  (memory (export "memory") 1)

  ;; Whoever opens or closes a socket, an echo has nothing to say to that.
  (func (export "websocketOpen"))
  (func (export "websocketClose"))

  (func (export "websocketMessage")
    (local $length i32)
    (call $hold (local.tee $length (call $payload_byte_length)))
    (call $receive (i32.const 0) (local.get $length))
    (if (call $is_close (local.get $length))
      ;; A close is the socket's number, which a message begins with.
      (then (call $websocket_close (i32.const 0)))
      (else (call $websocket_send (i32.const 0)))))

  ;; Has the memory hold a payload of this length, which every shorter one then finds there.
  (func $hold (param $length i32)
    (local $missing i32)
    (local.set $missing
      (i32.sub
        (i32.shr_u (i32.add (local.get $length) (i32.const 0xffff)) (i32.const 16))
        (memory.size)))
    (if (i32.gt_s (local.get $missing) (i32.const 0))
      (then
        (if (i32.eq (memory.grow (local.get $missing)) (i32.const -1))
          (then unreachable)))))

  ;; Whether the payload, which has this length, is the text `close`.
  (func $is_close (param $length i32) (result i32)
    (if (i32.ne (local.get $length) (i32.const 21)) (then (return (i32.const 0))))
    (i32.and
      (i32.eq (i32.load (i32.const 8)) (i32.const 1))
      (i32.and
        (i32.eq (i32.load (i32.const 16)) (i32.const 0x736f6c63)) ;; clos
        (i32.eq (i32.load8_u (i32.const 20)) (i32.const 0x65))))) ;; e
)
