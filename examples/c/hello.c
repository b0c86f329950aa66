// Sends a greeting to the WebSocket server that WS_URL names, and prints the answer.
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/hello.h"

typedef wasmcloud_websocket_types_websocket_error_t error_t;
typedef wasmcloud_websocket_client_option_message_t option_message_t;
typedef wasmcloud_websocket_client_borrow_connection_t connection_t;

static const char about[] = "Sends a greeting to the WebSocket server that WS_URL names, and prints the answer.";
static const char usage[] = "usage: hello, with a server in WS_URL, such as ws://localhost:9001/";

static int misused(const char *why, const char *what) {
    fprintf(stderr, "hello: %s%s\n%s\n", why, what, usage);
    // The C library ends every guest that fails with 1.
    wasi_cli_exit_exit_with_code(2);
    return EXIT_FAILURE;
}

static bool fail(const char *what, const error_t *error) {
    // In the order of the WIT's cases.
    static const char *const names[] = {"connection failed", "invalid URL", "protocol error", "connection closed",
                                        "authentication failed", "timed out", "invalid message", "I/O error"};
    fprintf(stderr, "hello: cannot %s: %s", what, names[error->tag]);
    if (error->tag != WASMCLOUD_WEBSOCKET_TYPES_WEBSOCKET_ERROR_CONNECTION_CLOSED &&
        error->tag != WASMCLOUD_WEBSOCKET_TYPES_WEBSOCKET_ERROR_TIMEOUT) {
        // Every other case has a text at the same place.
        const hello_string_t *text = &error->val.connection_failed;
        fprintf(stderr, ": %.*s", (int)text->len, (const char *)text->ptr);
    }
    fputc('\n', stderr);
    return false;
}

static bool print_answer(connection_t connection) {
    for (;;) {
        error_t error;
        option_message_t received;
        if (!wasmcloud_websocket_client_method_connection_receive(connection, &received, &error)) {
            return fail("receive", &error);
        }
        if (!received.is_some) {
            continue; // nothing has come yet
        }
        const wasmcloud_websocket_types_message_t *message = &received.val;
        if (message->tag == WASMCLOUD_WEBSOCKET_TYPES_MESSAGE_TEXT) {
            printf("the server answered: %.*s\n", (int)message->val.text.len, (const char *)message->val.text.ptr);
            wasmcloud_websocket_client_option_message_free(&received);
            return true;
        }
        if (message->tag == WASMCLOUD_WEBSOCKET_TYPES_MESSAGE_CLOSE) {
            fprintf(stderr, "hello: the server closed with %d and no answer\n", message->val.close.code);
            return false;
        }
        wasmcloud_websocket_client_option_message_free(&received);
    }
}

static bool greet(connection_t connection) {
    error_t error;
    wasmcloud_websocket_types_message_t greeting = {.tag = WASMCLOUD_WEBSOCKET_TYPES_MESSAGE_TEXT};
    hello_string_set(&greeting.val.text, "Hello from C!");
    if (!wasmcloud_websocket_client_method_connection_send(connection, &greeting, &error)) {
        return fail("send", &error);
    }
    if (!print_answer(connection)) {
        return false;
    }
    uint16_t normal_closure = 1000;
    if (!wasmcloud_websocket_client_method_connection_close(connection, &normal_closure, NULL, &error)) {
        return fail("close", &error);
    }
    return true;
}

int main(int argc, char **argv) {
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        printf("%s\n%s\n", about, usage);
        return EXIT_SUCCESS;
    }
    if (argc > 1) {
        return misused("unexpected argument ", argv[1]);
    }
    const char *url = getenv("WS_URL");
    if (url == NULL || *url == '\0') {
        return misused("WS_URL is not set", "");
    }
    wasmcloud_websocket_client_client_config_t config = {.timeout_ms = {.is_some = true, .val = 5000}};
    hello_string_set(&config.url, url);
    wasmcloud_websocket_client_own_connection_t connection;
    error_t error;
    if (!wasmcloud_websocket_client_connect(&config, &connection, &error)) {
        fail("connect", &error);
        return EXIT_FAILURE;
    }
    bool greeted = greet(wasmcloud_websocket_client_borrow_connection(connection));
    wasmcloud_websocket_client_connection_drop_own(connection);
    return greeted ? EXIT_SUCCESS : EXIT_FAILURE;
}
