// Package export_wasi_cli_run is the guest's wasi:cli/run: it sends a greeting to the WebSocket server that WS_URL names,
// and prints the answer.
package export_wasi_cli_run

import (
	"errors"
	"fmt"
	"os"

	types "go.bytecodealliance.org/pkg/wit/types"
	exit "wit_component/wasi_cli_exit"
	client "wit_component/wasmcloud_websocket_client"
	websocket "wit_component/wasmcloud_websocket_types"
)

const (
	about = "Sends a greeting to the WebSocket server that WS_URL names, and prints the answer."
	usage = "usage: hello, with a server in WS_URL, such as ws://localhost:9001/"
)

// Run is the command.
func Run() types.Result[types.Unit, types.Unit] {
	if len(os.Args) > 1 {
		if argument := os.Args[1]; argument != "--help" && argument != "-h" {
			misused("unexpected argument " + argument)
		}
		fmt.Println(about + "\n" + usage)
		return types.Ok[types.Unit, types.Unit](types.Unit{})
	}
	url := os.Getenv("WS_URL")
	if url == "" {
		misused("WS_URL is not set")
	}
	if err := hello(url); err != nil {
		fmt.Fprintln(os.Stderr, "hello:", err)
		return types.Err[types.Unit](types.Unit{})
	}
	return types.Ok[types.Unit, types.Unit](types.Unit{})
}

func misused(why string) {
	fmt.Fprintf(os.Stderr, "hello: %s\n%s\n", why, usage)
	// Go's runtime ends every guest that fails with 1.
	exit.ExitWithCode(2)
}

func hello(url string) error {
	connection, err := check(client.Connect(client.ClientConfig{Url: url, TimeoutMs: types.Some[uint32](5000)}))
	if err != nil {
		return fmt.Errorf("cannot connect: %w", err)
	}
	defer connection.Drop()
	if _, err := check(connection.Send(websocket.MakeMessageText("Hello from Go!"))); err != nil {
		return fmt.Errorf("cannot send: %w", err)
	}
	answer, err := receive(connection)
	if err != nil {
		return fmt.Errorf("cannot receive: %w", err)
	}
	fmt.Println("the server answered:", answer)
	_, err = check(connection.Close(types.Some[uint16](1000), types.None[string]()))
	return err
}

// receive waits for a text.
func receive(connection *client.Connection) (string, error) {
	for {
		received, err := check(connection.Receive())
		if err != nil {
			return "", err
		}
		if received.IsNone() {
			continue // nothing has come yet
		}
		switch message := received.Some(); message.Tag() {
		case websocket.Message_Text:
			return message.Text(), nil
		case websocket.Message_Close:
			return "", fmt.Errorf("the server closed with %d and no answer", message.Close().Code)
		}
	}
}

// check turns a result of the interface into what Go has for it.
func check[T any](result types.Result[T, websocket.WebsocketError]) (T, error) {
	if result.IsErr() {
		var none T
		return none, describe(result.Err())
	}
	return result.Ok(), nil
}

func describe(err websocket.WebsocketError) error {
	switch err.Tag() {
	case websocket.WebsocketError_ConnectionFailed:
		return errors.New("connection failed: " + err.ConnectionFailed())
	case websocket.WebsocketError_InvalidUrl:
		return errors.New("invalid URL: " + err.InvalidUrl())
	case websocket.WebsocketError_ProtocolError:
		return errors.New("protocol error: " + err.ProtocolError())
	case websocket.WebsocketError_AuthenticationFailed:
		return errors.New("authentication failed: " + err.AuthenticationFailed())
	case websocket.WebsocketError_InvalidMessage:
		return errors.New("invalid message: " + err.InvalidMessage())
	case websocket.WebsocketError_IoError:
		return errors.New("I/O error: " + err.IoError())
	case websocket.WebsocketError_Timeout:
		return errors.New("timed out")
	default:
		return errors.New("the connection is closed")
	}
}
