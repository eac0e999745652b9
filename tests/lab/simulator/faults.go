package main

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// taskFault makes the task that a call starts end in a fault.
type taskFault struct {
	Method, Fault string
	Count, Skip   int // Count 0: until cleared
}

// httpFault disturbs the replies below a path. Zero values do nothing.
type httpFault struct {
	Prefix     string
	Status     int     // this status instead of the reply
	CutBytes   int64   // the connection closes after so many bytes of the body
	CutPercent float64 // the same, of the body's size
	FlipAt     *int64  // the byte at this offset is inverted; of a file that is sent in ranges: its offset in the file
	Rate       int64   // bytes per second
	DelayMs    int     // before the reply
	Count      int     // replies disturbed; 0: until cleared
	Skip       int     // replies let through before
}

// callDelay lets a call wait before it is answered.
type callDelay struct {
	Method               string
	DelayMs, Count, Skip int // Count 0: until cleared
}

type faults struct {
	mu     sync.Mutex
	tasks  []*taskFault
	delays []*callDelay
	http   []*httpFault
}

func (f *faults) addTask(t *taskFault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tasks = append(f.tasks, t)
}
func (f *faults) addDelay(d *callDelay) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delays = append(f.delays, d)
}
func (f *faults) addHTTP(h *httpFault) { f.mu.Lock(); defer f.mu.Unlock(); f.http = append(f.http, h) }

func (f *faults) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tasks, f.delays, f.http = nil, nil, nil
}

// task says whether the next task of a method fails. A rule that is skipped counts down here.
func (f *faults) task(method string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.tasks {
		if t.Method == method {
			if t.Skip > 0 {
				t.Skip--
				continue
			}
			return true
		}
	}
	return false
}

// wait holds a call up where a rule says so.
func (f *faults) wait(method string) {
	f.mu.Lock()
	var pause time.Duration
	for i, d := range f.delays {
		if d.Method != method {
			continue
		}
		if d.Skip > 0 {
			d.Skip--
			continue
		}
		pause = time.Duration(d.DelayMs) * time.Millisecond
		if d.Count == 1 {
			f.delays = slices.Delete(f.delays, i, i+1)
		} else if d.Count > 1 {
			d.Count--
		}
		break
	}
	f.mu.Unlock()
	time.Sleep(pause)
}

func (f *faults) takeTask(method string) types.BaseMethodFault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, t := range f.tasks {
		if t.Method == method && t.Skip == 0 {
			if t.Count == 1 {
				f.tasks = slices.Delete(f.tasks, i, i+1)
			} else if t.Count > 1 {
				t.Count--
			}
			return newFault(t.Fault)
		}
	}
	return nil
}

func (f *faults) takeHTTP(path string, start, size int64) *httpFault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, h := range f.http {
		if !strings.HasPrefix(path, h.Prefix) || h.FlipAt != nil && (*h.FlipAt < start || *h.FlipAt >= start+size) {
			continue
		}
		if h.Skip > 0 {
			h.Skip--
			continue
		}
		taken := *h
		if h.Count == 1 {
			f.http = slices.Delete(f.http, i, i+1)
		} else if h.Count > 1 {
			h.Count--
		}
		return &taken
	}
	return nil
}

// disturb applies a fault that waits for this path. It gives the writer for a body of the given size, which begins at
// start of a file, or nil when the reply is already made.
func (f *faults) disturb(w http.ResponseWriter, path string, start, size int64) http.ResponseWriter {
	h := f.takeHTTP(path, start, size)
	if h == nil {
		return w
	}
	time.Sleep(time.Duration(h.DelayMs) * time.Millisecond)
	if h.Status != 0 {
		http.Error(w, "injected", h.Status)
		return nil
	}
	d := &disturbed{ResponseWriter: w, cut: -1, flip: -1, rate: h.Rate}
	if h.CutBytes > 0 {
		d.cut = h.CutBytes
	} else if h.CutPercent > 0 {
		d.cut = int64(float64(size) * h.CutPercent / 100)
	}
	if h.FlipAt != nil {
		d.flip = *h.FlipAt - start
	}
	return d
}

// disturbed is a body that is cut, altered or slow.
type disturbed struct {
	http.ResponseWriter
	at, cut, flip, rate int64
}

const slowWrite = 64 << 10 // a slow body comes in such pieces

func (d *disturbed) Write(p []byte) (n int, err error) {
	for d.rate > 0 && len(p) > slowWrite && err == nil {
		var k int
		k, err = d.write(p[:slowWrite])
		n, p = n+k, p[slowWrite:]
	}
	if err == nil {
		var k int
		k, err = d.write(p)
		n += k
	}
	return n, err
}

func (d *disturbed) write(p []byte) (int, error) {
	if d.cut >= 0 && d.at+int64(len(p)) > d.cut {
		_, _ = d.ResponseWriter.Write(p[:d.cut-d.at])
		_ = http.NewResponseController(d.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	if i := d.flip - d.at; i >= 0 && i < int64(len(p)) {
		p = slices.Clone(p)
		p[i] ^= 0xff
	}
	if d.rate > 0 {
		_ = http.NewResponseController(d.ResponseWriter).Flush()
		time.Sleep(time.Duration(int64(len(p)) * int64(time.Second) / d.rate))
	}
	n, err := d.ResponseWriter.Write(p)
	d.at += int64(n)
	return n, err
}

func newFault(name string) types.BaseMethodFault {
	if t, ok := types.TypeFunc()(name); ok {
		if f, ok := reflect.New(t).Interface().(types.BaseMethodFault); ok {
			return f
		}
	}
	return &types.SystemErrorFault{Reason: name}
}

// failTask runs a task on the VM that ends in the fault that waits for the method, or else in the given one.
func (l *Lab) failTask(ctx *simulator.Context, vm types.ManagedObjectReference, method string, other types.BaseMethodFault) types.ManagedObjectReference {
	fault := l.faults.takeTask(method)
	if fault == nil {
		fault = other
	}
	run := func(*simulator.Task) (types.AnyType, types.BaseMethodFault) { return nil, fault }
	return simulator.CreateTask(vm, strings.TrimSuffix(method, "_Task"), run).Run(ctx)
}

// The methods below answer only calls that are to fail: Handle sends nothing else here.

func (l *Lab) PowerOnVMTask(ctx *simulator.Context, r *types.PowerOnVM_Task) soap.HasFault {
	task := l.failTask(ctx, r.This, "PowerOnVM_Task", new(types.InvalidState)) // an export is under way
	return &methods.PowerOnVM_TaskBody{Res: &types.PowerOnVM_TaskResponse{Returnval: task}}
}

func (l *Lab) PowerOffVMTask(ctx *simulator.Context, r *types.PowerOffVM_Task) soap.HasFault {
	task := l.failTask(ctx, r.This, "PowerOffVM_Task", nil)
	return &methods.PowerOffVM_TaskBody{Res: &types.PowerOffVM_TaskResponse{Returnval: task}}
}

func (l *Lab) ReconfigVMTask(ctx *simulator.Context, r *types.ReconfigVM_Task) soap.HasFault {
	task := l.failTask(ctx, r.This, "ReconfigVM_Task", nil)
	return &methods.ReconfigVM_TaskBody{Res: &types.ReconfigVM_TaskResponse{Returnval: task}}
}

func (l *Lab) CreateSnapshotTask(ctx *simulator.Context, r *types.CreateSnapshot_Task) soap.HasFault {
	task := l.failTask(ctx, r.This, "CreateSnapshot_Task", nil)
	return &methods.CreateSnapshot_TaskBody{Res: &types.CreateSnapshot_TaskResponse{Returnval: task}}
}

func (l *Lab) RemoveSnapshotTask(ctx *simulator.Context, r *types.RemoveSnapshot_Task) soap.HasFault {
	vm := l.reg.Get(r.This).(*simulator.VirtualMachineSnapshot).Vm
	task := l.failTask(ctx, vm, "RemoveSnapshot_Task", nil)
	return &methods.RemoveSnapshot_TaskBody{Res: &types.RemoveSnapshot_TaskResponse{Returnval: task}}
}
