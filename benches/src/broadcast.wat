;; A guest of the pointer-payload ABI that sends each message to all its sockets. If the message begins with "d", each copy
;; differs from the one before it in its second byte.
(module
  (import "primate" "payloadByteLength" (func $length (result i32)))
  (import "primate" "receive" (func $receive (param i32 i32)))
  (import "primate" "send" (func $send (param i32 i32)))
  (import "primate" "websocketSend" (func $websocketSend))
  (import "primate" "websocketClose" (func $websocketClose))
  (memory (export "memory") 64)
  ;; The numbers of the open sockets begin at address 0, and the payload at 131072.
  (global $sockets (mut i32) (i32.const 0))
  (func (export "websocketOpen")
    (call $receive (i32.shl (global.get $sockets) (i32.const 3)) (i32.const 8))
    (global.set $sockets (i32.add (global.get $sockets) (i32.const 1))))
  (func (export "websocketMessage") (local $at i32) (local $size i32)
    (local.set $size (call $length))
    (call $receive (i32.const 131072) (local.get $size))
    (loop $each
      (i64.store (i32.const 131072) (i64.load (i32.shl (local.get $at) (i32.const 3))))
      (if (i32.eq (i32.load8_u (i32.const 131088)) (i32.const 100)) (then
        ;; A letter from "a" to "p".
        (i32.store8 (i32.const 131089) (i32.add (i32.const 97) (i32.and (local.get $at) (i32.const 15))))))
      (call $send (i32.const 131072) (local.get $size))
      (call $websocketSend)
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $each (i32.lt_u (local.get $at) (global.get $sockets)))))
  ;; The benchmark ends the program when it ends its sockets.
  (func (export "websocketClose") (call $receive (i32.const 131072) (call $length))))
