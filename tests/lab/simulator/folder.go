package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/vim25/types"
)

const folderPrefix = "/folder/"

// serveFolder gives the files of the datastore away, one at a time, whole or in ranges.
func (g *gate) serveFolder(w http.ResponseWriter, r *http.Request) {
	if !g.authorized(w, r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="VMware HTTP server"`)
		http.Error(w, "401 Unauthorized", http.StatusUnauthorized)
		return
	}
	switch {
	case strings.Contains(r.URL.Path, ".."):
		http.Error(w, "bad path", http.StatusBadRequest)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		http.Error(w, "read only", http.StatusMethodNotAllowed)
		return
	case !g.lab.granted("Datastore.Browse"):
		http.Error(w, "403 Forbidden", http.StatusForbidden)
		return
	}
	name := strings.TrimPrefix(r.URL.Path, folderPrefix)
	file, size, err := g.openFile(name, r.URL.Query())
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer file.Close()
	if g.busy(name) {
		http.Error(w, "Device or resource busy", http.StatusInternalServerError)
		return
	}
	g.count(r)
	g.serveFile(w, r, file, size)
}

// openFile finds what a URL names. vCenter unescapes dcPath and dsName once more than HTTP does.
func (g *gate) openFile(name string, query url.Values) (*os.File, int64, error) {
	for key, want := range map[string]string{"dcPath": g.lab.cfg.Datacenter, "dsName": g.lab.cfg.Datastore} {
		value, err := query.Get(key), error(nil)
		if !g.lab.get().UnescapeOnce {
			value, err = url.QueryUnescape(value)
		}
		if err != nil || value != want {
			return nil, 0, os.ErrNotExist
		}
	}
	if strings.EqualFold(g.lab.get().DatastoreType, "vsan") && isExtent(name) {
		return nil, 0, os.ErrNotExist // the content is in objects, not in files
	}
	file, err := os.Open(filepath.Join(g.lab.datastore(), name))
	if err != nil {
		return nil, 0, err
	}
	st, err := file.Stat()
	if err != nil || !st.Mode().IsRegular() {
		file.Close()
		return nil, 0, os.ErrNotExist
	}
	return file, st.Size(), nil
}

func (g *gate) serveFile(w http.ResponseWriter, r *http.Request, file *os.File, size int64) {
	set, start, length, status := g.lab.get(), int64(0), size, http.StatusOK
	header := w.Header()
	header.Set("Content-Type", "application/octet-stream")
	if set.AnnounceRanges {
		header.Set("Accept-Ranges", "bytes")
	}
	if asked := r.Header.Get("Range"); asked != "" && set.AnnounceRanges {
		var last int64
		if n, err := fmt.Sscanf(asked, "bytes=%d-%d", &start, &last); n != 2 || err != nil || start < 0 || last < start || start >= size {
			header.Set("Content-Range", fmt.Sprintf("bytes */%d", size))
			http.Error(w, "bad range", http.StatusRequestedRangeNotSatisfiable)
			return
		}
		length = min(last+1, size) - start
		total := size
		switch set.RangeLie {
		case "other":
			start = max(0, min(start+block, size-length))
		case "total":
			total += sector
		case "less":
			length = (length + 1) / 2
		case "all":
			start, length = 0, size
		}
		header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, start+length-1, total))
		status = http.StatusPartialContent
		if set.RangeLie == "all" {
			header.Del("Content-Range")
			status = http.StatusOK
		}
	}
	out := g.lab.faults.disturb(w, r.URL.Path, start, length)
	if out == nil {
		return
	}
	header.Set("Content-Length", strconv.FormatInt(length, 10))
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	never := func() bool { return false }
	if pump(out, io.NewSectionReader(file, start, length), 256<<10, never) != nil {
		panic(http.ErrAbortHandler)
	}
}

// count counts requests for files as calls of "folder", and those that carry a range as "range".
func (g *gate) count(r *http.Request) {
	g.lab.mu.Lock()
	defer g.lab.mu.Unlock()
	g.lab.calls["folder"]++
	if r.Header.Get("Range") != "" {
		g.lab.calls["range"]++
	}
}

func isExtent(name string) bool {
	return strings.HasSuffix(name, "-flat.vmdk") || strings.HasSuffix(name, "-delta.vmdk")
}

// busy says whether a file is held open: by a running VM, as a host holds every extent of its disks, or by somebody.
func (g *gate) busy(name string) bool {
	set := g.lab.get()
	if set.Busy || set.Lenient || !isExtent(name) {
		return set.Busy && isExtent(name)
	}
	g.lab.mu.Lock()
	var owner types.ManagedObjectReference
	for ref, m := range g.lab.machines {
		if m.dir == path.Dir(name) {
			owner = ref
		}
	}
	g.lab.mu.Unlock()
	vm := g.lab.vm(owner)
	return vm != nil && vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOff
}
