// spdystream client|server: the SPDY library of Kubernetes' clients as a peer, on a socket that is descriptor 3.
//
// As a client it opens streams, sends a pattern over each and wants it back; some of its streams it wants refused, and
// some it resets half-way. As a server it sends back what it gets. It says what went wrong, and fails.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/moby/spdystream"
)

const timeout = 20 * time.Second

func connect(server bool) (*spdystream.Connection, error) {
	socket, err := net.FileConn(os.NewFile(3, "socket"))
	if err != nil {
		return nil, err
	}
	return spdystream.NewConnection(socket, server)
}

// echo sends `want` over a new stream and reads it back.
func echo(conn *spdystream.Connection, number int, want []byte) error {
	header := http.Header{}
	header.Set("streamType", "data")
	header.Set("requestID", fmt.Sprint(number))
	stream, err := conn.CreateStream(header, nil, false)
	if err != nil {
		return err
	}
	if err := stream.WaitTimeout(timeout); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(stream, bytes.NewReader(want))
		_ = stream.Close()
	}()
	got, err := io.ReadAll(stream)
	if err == nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("%d bytes came back of %d, or others", len(got), len(want))
	}
	return err
}

func refused(conn *spdystream.Connection) error {
	stream, err := conn.CreateStream(http.Header{"Refuse": {"yes"}}, nil, false)
	if err != nil {
		return err
	}
	if err := stream.WaitTimeout(timeout); !errors.Is(err, spdystream.ErrReset) {
		return fmt.Errorf("not refused: %v", err)
	}
	return nil
}

func reset(conn *spdystream.Connection) error {
	stream, err := conn.CreateStream(http.Header{}, nil, false)
	if err != nil {
		return err
	}
	if err := stream.WaitTimeout(timeout); err != nil {
		return err
	}
	go func() { _, _ = stream.Write(make([]byte, 3<<20)) }()
	return stream.Reset()
}

func client(conn *spdystream.Connection) error {
	go conn.Serve(spdystream.NoOpStreamHandler)
	var wait sync.WaitGroup
	failures := make(chan error, 100)
	run := func(name string, work func() error) {
		wait.Add(1)
		go func() {
			defer wait.Done()
			if err := work(); err != nil {
				failures <- fmt.Errorf("%s: %w", name, err)
			}
		}()
	}
	for i := 0; i < 20; i++ {
		want := bytes.Repeat([]byte(fmt.Sprint("stream ", i, ", ")), 10000*i)
		run(fmt.Sprint("stream ", i), func() error { return echo(conn, i, want) })
		if i%5 == 0 {
			run("refused", func() error { return refused(conn) })
			run("reset", func() error { return reset(conn) })
		}
	}
	run("ping", func() error { _, err := conn.Ping(); return err })
	wait.Wait()
	close(failures)
	return errors.Join(collect(failures)...)
}

func collect(failures <-chan error) (all []error) {
	for err := range failures {
		all = append(all, err)
	}
	return all
}

func main() {
	server := os.Args[1] == "server"
	conn, err := connect(server)
	if err == nil && server {
		conn.Serve(spdystream.MirrorStreamHandler)
	} else if err == nil {
		err = client(conn)
		_ = conn.Close()
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
