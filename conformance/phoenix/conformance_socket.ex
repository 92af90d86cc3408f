# What the suite needs of a Phoenix application. Mount it in the endpoint:
#
#     socket "/socket", ConformanceSocket, websocket: true, longpoll: true, auth_token: true
#
# `ConformanceChannel` uses `Presence` of your application if `:conformance, :presence` names it.

defmodule ConformanceSocket do
  use Phoenix.Socket

  channel "room:*", ConformanceChannel
  channel "refused:*", ConformanceChannel
  channel "presence:*", ConformanceChannel

  @impl true
  def connect(%{"refuse" => _}, _socket, _info), do: :error
  def connect(_params, socket, _info), do: {:ok, socket}

  @impl true
  def id(_socket), do: nil
end

defmodule ConformanceChannel do
  use Phoenix.Channel

  @impl true
  def join("refused:" <> _, _params, _socket), do: {:error, %{reason: "refused"}}

  def join("presence:" <> _, params, socket) do
    send(self(), {:track, params["key"] || "somebody"})
    {:ok, socket}
  end

  def join("room:" <> _, params, socket) do
    if params["push_in_join"], do: send(self(), :push_in_join)
    {:ok, %{}, socket}
  end

  @impl true
  def handle_info(:push_in_join, socket) do
    push(socket, "joined", %{})
    {:noreply, socket}
  end

  def handle_info({:track, key}, socket) do
    presence = Application.fetch_env!(:conformance, :presence)
    {:ok, _} = presence.track(socket, key, %{})
    push(socket, "presence_state", presence.list(socket))
    {:noreply, socket}
  end

  @impl true
  def handle_in("echo", payload, socket), do: {:reply, {:ok, payload}, socket}
  def handle_in("refuse", _payload, socket), do: {:reply, {:error, %{reason: "refused"}}, socket}

  def handle_in("push", payload, socket) do
    push(socket, "pushed", payload)
    {:reply, :ok, socket}
  end

  def handle_in("stop", _payload, socket), do: {:stop, :normal, socket}
  def handle_in("crash", _payload, _socket), do: raise("the suite asked for it")

  def handle_in(event, payload, socket) do
    broadcast!(socket, event, payload)
    {:reply, :ok, socket}
  end
end
