#include "common/process/service_main.h"
#include "services/collector/app.h"

int main(int argc, char** argv) {
  return weir::ServiceMain<weir::collector::App, weir::collector::Config>(
      argc, argv, "collector", "Takes samples in, makes them durable, delivers them.");
}
