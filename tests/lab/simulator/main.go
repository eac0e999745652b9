// Command lab is a vCenter for tests: govmomi's simulator, unmodified, with real disks, export leases, changed block
// tracking, faults, and two TLS listeners (the vCenter and the ESXi host that leases point at).
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// Config is the file named by -config. It holds the password, so it is never an argument.
type Config struct {
	Listen         string  // vCenter, "127.0.0.2:0"
	HostListen     string  // ESXi, "127.0.0.3:0"
	Username       string  //
	Password       string  //
	Token          string  // of the control API
	Directory      string  // state: certificates, datastore, exports
	LeaseTimeout   float64 // seconds
	SessionIdle    float64 // seconds; 0 keeps the simulator's default
	HostSelfSigned bool    // the ESXi certificate: signed by itself instead of the lab's CA
	APIVersion     string  // dotted, as pyVmomi needs it
	HTTPIdle       float64 // seconds after which an idle connection is closed; 0: never
	APIType        string  // what the server says it is: VirtualCenter, or HostAgent for an ESXi host
	Datacenter     string  // its path: folders and name
	Datastore      string  // its name
}

// Ready is the line on stdout that says where the lab listens.
type Ready struct {
	Port, HostPort, ControlPort int
	CAFile, Thumbprint          string
}

func main() {
	file := flag.String("config", "", "JSON file")
	flag.Parse()
	if err := run(*file); err != nil {
		log.Fatal(err)
	}
}

func run(file string) error {
	var cfg Config
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &cfg); err != nil {
		return err
	}
	certs, err := makeCertificates(cfg.Directory, cfg.HostSelfSigned)
	if err != nil {
		return err
	}

	model := simulator.VPX()
	model.Machine = 0
	model.ServiceContent.About.ApiVersion = cfg.APIVersion
	if err := model.Create(); err != nil {
		return err
	}
	defer model.Remove()
	lab, err := newLab(context.Background(), cfg, model)
	if err != nil {
		return err
	}

	hostListener, err := tls.Listen("tcp", cfg.HostListen, tlsConfig(certs.host))
	if err != nil {
		return err
	}
	lab.exports.host = hostListener.Addr().String()
	lab.exports.hostThumbprint = sha1Thumbprint(certs.host)
	go serve(hostListener, http.HandlerFunc(lab.serveHost))

	model.Service.TLS = tlsConfig(certs.vcenter)
	model.Service.Listen = &url.URL{Host: cfg.Listen, User: url.UserPassword(cfg.Username, cfg.Password)}
	model.Service.HandleFunc(exportPrefix, lab.serveExport)
	server := model.Service.NewServer()
	defer server.Close()
	server.Config.IdleTimeout = time.Duration(cfg.HTTPIdle * float64(time.Second))
	server.Config.Handler = &gate{lab: lab, next: server.Config.Handler}
	lab.exports.vcenter = server.URL.Host

	controlListener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go serve(controlListener, lab.controlHandler())

	err = json.NewEncoder(os.Stdout).Encode(Ready{
		port(server.Listener), port(hostListener), port(controlListener), certs.caFile, sha256Thumbprint(certs.vcenter)})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	go func() { // the process ends with the one that started it: its end of our stdin closes
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	<-ctx.Done()
	server.CloseClientConnections() // Close waits for requests, which may be long downloads
	return nil
}

// tlsConfig sends records of full size from the first byte on.
func tlsConfig(certificate tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{certificate}, DynamicRecordSizingDisabled: true}
}

func serve(l net.Listener, h http.Handler) {
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		log.Print(fmt.Errorf("listener %s: %w", l.Addr(), err))
	}
}

func port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// setIdle gives sessions an idle timeout.
func setIdle(reg *simulator.Registry, seconds float64) {
	idle := time.Duration(seconds * float64(time.Second))
	reg.OptionManager().UpdateOptions(&types.UpdateOptions{ChangedValue: []types.BaseOptionValue{
		&types.OptionValue{Key: "config.vmacore.soap.sessionTimeout", Value: idle.String()}}})
}
