package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// exports keeps each content's stream once it was made, so that it is compressed once and its length is known.
type exports struct {
	dir            string
	vcenter, host  string // host:port
	hostThumbprint string

	mu       sync.Mutex
	files    map[string]*export // by path, size and time of change
	contents map[string]*export // by hash
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
	x := e.once(e.files, fmt.Sprint(raw, st.Size(), st.ModTime().UnixNano()), func() (string, error) {
		sum, err := contentHash(raw)
		if err != nil {
			return "", err
		}
		made := e.once(e.contents, sum, func() (string, error) {
			path := filepath.Join(e.dir, sum+".vmdk")
			return path, compress(raw, path)
		})
		return made.path, made.err
	})
	if x.err != nil {
		return nil, 0, x.err
	}
	return openRaw(x.path)
}

// once makes an export that is in no map yet.
func (e *exports) once(in map[string]*export, key string, make func() (string, error)) *export {
	e.mu.Lock()
	x := in[key]
	if x == nil {
		x = new(export)
		in[key] = x
	}
	e.mu.Unlock()
	x.once.Do(func() { x.path, x.err = make() })
	return x
}

// contentHash covers a file's size and what is not a hole, each with its place.
func contentHash(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	for at := int64(0); ; {
		hash.Write(binary.LittleEndian.AppendUint64(nil, uint64(at)))
		from, err := file.Seek(at, seekData)
		if errors.Is(err, syscall.ENXIO) {
			return fmt.Sprintf("%x-%d", hash.Sum(nil)[:16], size), nil
		}
		if err != nil {
			return "", err
		}
		if at, err = file.Seek(from, seekHole); err != nil {
			return "", err
		}
		hash.Write(binary.LittleEndian.AppendUint64(nil, uint64(from)))
		if _, err := io.Copy(hash, io.NewSectionReader(file, from, at-from)); err != nil {
			return "", err
		}
	}
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
	if err := writeStreamOptimized(buffered, in, st.Size(), "disk.vmdk"); err != nil {
		return err
	}
	return buffered.Flush()
}
