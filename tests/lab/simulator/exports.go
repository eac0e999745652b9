package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// exports keeps each disk's stream once it was made, so that it is compressed once and its length is known.
type exports struct {
	dir            string
	vcenter, host  string // host:port
	hostThumbprint string

	mu    sync.Mutex
	files map[string]*export
}

type export struct {
	once sync.Once
	path string
	err  error
}

// address is the start of a lease's URLs, and the thumbprint of who answers there (empty for the vCenter itself).
func (e *exports) address(mode string) (url, thumbprint string) {
	switch mode {
	case "star": // as an ESXi host asked directly: the client puts in the address it used
		return "https://*", ""
	case "vcenter":
		return "https://" + e.vcenter, ""
	default:
		return "https://" + e.host, e.hostThumbprint
	}
}

// stream opens a disk's content as streamOptimized VMDK, and gives its size.
func (e *exports) stream(raw string) (io.ReadCloser, int64, error) {
	st, err := os.Stat(raw)
	if err != nil {
		return nil, 0, err
	}
	key := fmt.Sprint(raw, st.Size(), st.ModTime().UnixNano())
	e.mu.Lock()
	x := e.files[key]
	if x == nil {
		x = &export{path: filepath.Join(e.dir, fmt.Sprintf("%d.vmdk", len(e.files)))}
		e.files[key] = x
	}
	e.mu.Unlock()
	x.once.Do(func() { x.err = compress(raw, x.path) })
	if x.err != nil {
		return nil, 0, x.err
	}
	return openRaw(x.path)
}

func openRaw(path string) (io.ReadCloser, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	return f, st.Size(), nil
}

func compress(raw, path string) error {
	in, err := os.Open(raw)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	buffered := bufio.NewWriterSize(out, 1<<20)
	if err := writeStreamOptimized(buffered, in, st.Size(), filepath.Base(raw)); err != nil {
		return err
	}
	return buffered.Flush()
}
